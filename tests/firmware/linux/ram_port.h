/* A board in memory, with faults that a test asks for. */
#include "nrd_agent.h"

#include <setjmp.h>
#include <string.h>

enum { FLASH_SIZE = 16 * 4096 };

static uint8_t cells[FLASH_SIZE];
static uint64_t counter;
static uint8_t root[32] = {1}, seed[32] = {2}, public_key[32], certificate[64] = {3};

/* How the port misbehaves. */
static int read_fails, program_fails, random_fails, sign_fails, reenter, jump;
static jmp_buf jumped;
static NrdAgent *agent;
static int32_t reentered;

static int32_t flash_read(void *c, uint32_t at, uint8_t *bytes, uint32_t len) {
  (void)c;
  if (reenter) {
    uint8_t did;
    reentered = reenter == 1 ? nrd_agent_step(agent, &did) : nrd_agent_close(agent);
  }
  if (jump) longjmp(jumped, 1);
  if (read_fails || (uint64_t)at + len > FLASH_SIZE) return NRD_P_UNAVAILABLE;
  memcpy(bytes, cells + at, len);
  return 0;
}
static int32_t flash_program(void *c, uint32_t at, const uint8_t *bytes, uint32_t len) {
  (void)c;
  if (program_fails || (uint64_t)at + len > FLASH_SIZE) return -12345;
  for (uint32_t i = 0; i < len; i++) cells[at + i] &= bytes[i];
  return 0;
}
static int32_t flash_erase(void *c, uint32_t from, uint32_t to) {
  (void)c;
  if (from > to || to > FLASH_SIZE) return NRD_P_OUT_OF_BOUNDS;
  if (from % 4096 || to % 4096) return NRD_P_NOT_ALIGNED;
  memset(cells + from, 0xFF, to - from);
  return 0;
}
static int32_t counter_read(void *c, uint64_t *value) {
  (void)c;
  *value = counter;
  return 0;
}
static int32_t counter_increment(void *c) {
  (void)c;
  counter++;
  return 0;
}
static int32_t derive(void *c, const uint8_t *label, uint32_t len, const uint64_t *epoch,
                      uint8_t *out) {
  (void)c;
  if (epoch && *epoch < counter) return NRD_P_REFUSED;
  return nrd_soft_derive(root, label, len, epoch, out);
}
static int32_t fill_random(void *c, uint8_t *out, uint32_t len) {
  static uint32_t state = 1;
  (void)c;
  if (random_fails) return 1;
  for (uint32_t i = 0; i < len; i++) {
    state = state * 1664525u + 1013904223u;
    out[i] = (uint8_t)(state >> 24);
  }
  return 0;
}
static int32_t sign(void *c, const uint8_t *message, uint32_t len, uint8_t *signature) {
  (void)c;
  if (sign_fails) return 1;
  return nrd_soft_sign(seed, message, len, signature);
}
static uint64_t now_ms;
static uint64_t uptime_ms(void *c) {
  (void)c;
  return now_ms += 10;
}

/* The port, as it left the factory. */
static NrdPlatform ram_platform(void) {
  NrdPlatform p;
  memset(cells, 0xFF, sizeof cells);
  counter = now_ms = 0;
  nrd_soft_public_key(seed, public_key);
  memcpy(certificate + 8, public_key, sizeof public_key);
  memset(&p, 0, sizeof p);
  p.size = sizeof p;
  p.abi = NRD_ABI_VERSION;
  p.flash = (NrdGeometry){FLASH_SIZE, 1, 4096, 4096, 1};
  p.flash_read = flash_read;
  p.flash_program = flash_program;
  p.flash_erase = flash_erase;
  p.counter_read = counter_read;
  p.counter_increment = counter_increment;
  p.counter_endurance = 100000;
  p.derive = derive;
  p.refuses_past_epochs = 1;
  p.random = fill_random;
  p.sign = sign;
  p.uptime_ms = uptime_ms;
  p.device_id = "NRD-C-1";
  p.public_key = public_key;
  p.certificate = certificate;
  p.certificate_len = sizeof certificate;
  return p;
}
