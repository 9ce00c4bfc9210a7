/* What a firmware can do wrong: every call must answer a stable number, and
 * nothing may be lost. Built with the address and undefined-behaviour
 * sanitizers. Prints a line for each check; exit status 1 when one fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ram_port.h"

static int failures;

static int32_t slot_erase(void *c, uint8_t slot) {
  (void)c, (void)slot;
  return 0;
}
static int32_t link_ok(void *c) {
  (void)c;
  return 0;
}
static intptr_t lying_read(void *c, uint8_t *bytes, size_t len) {
  (void)c, (void)bytes;
  return (intptr_t)len + 1000;
}
static intptr_t lying_write(void *c, const uint8_t *bytes, size_t len) {
  (void)c, (void)bytes;
  return (intptr_t)len + 1000;
}
static intptr_t greedy_write(void *c, const uint8_t *bytes, size_t len) {
  (void)c, (void)bytes;
  return (intptr_t)len;
}
/* A record of 16 KiB, a byte at a time. */
static intptr_t drip_read(void *c, uint8_t *bytes, size_t len) {
  static const uint8_t record[5] = {22, 3, 3, 0x40, 0};
  static unsigned at;
  (void)c, (void)len;
  bytes[0] = at < sizeof record ? record[at] : 0;
  at++;
  return 1;
}
static uint64_t no_clock(void *c) {
  (void)c;
  return 0;
}
static void link_close(void *c) { ++*(int *)c; }

static void expect(const char *what, int32_t want, int32_t got) {
  int ok = want == got;
  printf("%s %-60s %d %s\n", ok ? "ok  " : "FAIL", what, got, nrd_error_text(got));
  failures += !ok;
}

static void expect_true(const char *what, int ok) {
  printf("%s %s\n", ok ? "ok  " : "FAIL", what);
  failures += !ok;
}

static void expect_state(const char *what, uint8_t want, uint8_t got) {
  printf("%s %-60s state %u\n", want == got ? "ok  " : "FAIL", what, got);
  failures += want != got;
}

static void settle(void) {
  uint8_t did = NRD_STEP_WORKING;
  for (int i = 0; i < 10000 && did != NRD_STEP_IDLE; i++)
    if (nrd_agent_step(agent, &did) != NRD_OK) did = NRD_STEP_WORKING;
}

static uint8_t state(void) {
  NrdStatus s;
  memset(&s, 0, sizeof s);
  s.size = sizeof s;
  return nrd_agent_status(agent, &s) == NRD_OK ? s.state : 255;
}

static void wait_until_due(void) {
  uint64_t due = 0;
  do nrd_agent_next_due_ms(agent, &due);
  while (due != 0);
}

static void expect_fault(const char *what, int32_t fault) {
  NrdStatus s;
  memset(&s, 0, sizeof s);
  s.size = sizeof s;
  expect(what, NRD_OK, nrd_agent_status(agent, &s));
  expect(what, fault, s.fault);
}

/* Each call of the header, with each of its pointers led into the agent's own
 * memory (tests/tests/capi.rs counts them). */
static void lead_into_the_agent(uint8_t *block, size_t bytes, const NrdHttps *https,
                                const NrdLink *link) {
#define OWN(call) expect(#call, NRD_E_OVERLAP, call)
  static uint8_t out[NRD_MAX_FRAME], result;
  static size_t len;
  static NrdNext next;
  /* Somewhere in the middle, where the keys are; and the last byte. */
  uint8_t *in = block + 256, *last = block + bytes - 1;
  size_t *in_len = (size_t *)(void *)in;
  OWN(nrd_agent_poll(agent, in, 256, &next));
  OWN(nrd_agent_poll(agent, out, sizeof out, (NrdNext *)(void *)in));
  OWN(nrd_agent_step(agent, last));
  OWN(nrd_agent_status(agent, (NrdStatus *)(void *)in));
  OWN(nrd_agent_key(agent, NRD_KEY_UP, last));
  OWN(nrd_agent_put(agent, 3, 1, in, 64));
  OWN(nrd_agent_get(agent, 3, 1, in, 64, &len));
  OWN(nrd_agent_get(agent, 3, 1, out, 64, in_len));
  OWN(nrd_agent_display_name(agent, in, 32, &len));
  OWN(nrd_agent_display_name(agent, out, 32, in_len));
  OWN(nrd_agent_next_due_ms(agent, (uint64_t *)(void *)in));
  OWN(nrd_agent_signed_time(agent, (uint64_t *)(void *)in));
  OWN(nrd_agent_poll_request(agent, in, NRD_MAX_FRAME, &len));
  OWN(nrd_agent_poll_request(agent, out, sizeof out, in_len));
  OWN(nrd_agent_handle_reply(agent, in, 64));
  OWN(nrd_agent_apply_order(agent, in, 64, &result, out, sizeof out, &len));
  OWN(nrd_agent_apply_order(agent, out, 64, last, out + 64, 192, &len));
  OWN(nrd_agent_apply_order(agent, out, 64, &result, in, 192, &len));
  OWN(nrd_agent_apply_order(agent, out, 64, &result, out + 64, 192, in_len));
  OWN(nrd_agent_newest_receipt(agent, in, 512, &len));
  OWN(nrd_agent_newest_receipt(agent, out, sizeof out, in_len));
  OWN(nrd_agent_is_clean(agent, last));
  OWN(nrd_agent_prove_clean(agent, in, out, sizeof out, &len));
  OWN(nrd_agent_prove_clean(agent, certificate, in, 512, &len));
  OWN(nrd_agent_prove_clean(agent, certificate, out, sizeof out, in_len));
  OWN(nrd_agent_storage_check(agent, in, 64, out, sizeof out, &len));
  OWN(nrd_agent_storage_check(agent, out, 64, in, NRD_MAX_MESSAGE, &len));
  OWN(nrd_agent_storage_check(agent, out, 64, out + 64, NRD_MAX_MESSAGE, in_len));
  OWN(nrd_agent_post(agent, (NrdHttps *)(void *)in, link, out, 64));
  OWN(nrd_agent_post(agent, https, (NrdLink *)(void *)in, out, 64));
  OWN(nrd_agent_post(agent, https, link, in, 64));
  OWN(nrd_agent_exchange(agent, (NrdHttps *)(void *)in, link, &result));
  OWN(nrd_agent_exchange(agent, https, (NrdLink *)(void *)in, &result));
  OWN(nrd_agent_exchange(agent, https, link, last));
  /* A range that only begins before it, and one that holds it all. */
  OWN(nrd_agent_put(agent, 3, 1, block - 8, 9));
  OWN(nrd_agent_put(agent, 3, 1, block - 8, bytes + 16));
#undef OWN
}

static void expect_zeros(const uint8_t *block, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    if (block[i] != 0) {
      printf("FAIL byte %zu of the closed agent is %u\n", i, block[i]);
      failures++;
      return;
    }
}

/* A callback that never returns: what it must not do, and what is left then. */
static void jump_out(uint8_t *block, size_t bytes, const NrdPlatform *platform,
                     const NrdConfig *config) {
  uint8_t did, out[64];
  size_t n;
  expect("init once more", NRD_OK, nrd_agent_init(block, bytes, platform, config, &agent));
  if (setjmp(jumped) == 0) {
    jump = 1;
    for (int i = 0; i < 10; i++) nrd_agent_step(agent, &did);
    expect_true("the flash was read", 0);
  }
  jump = 0;
  expect("a call after a jump", NRD_E_REENTERED, nrd_agent_step(agent, &did));
  expect("close after a jump that nobody told of", NRD_E_REENTERED, nrd_agent_close(agent));
  expect("the agent abandoned", NRD_OK, nrd_agent_abandon(agent));
  expect("a call of an abandoned agent", NRD_E_ABANDONED, nrd_agent_step(agent, &did));
  expect("another", NRD_E_ABANDONED, nrd_agent_get(agent, 3, 1, out, sizeof out, &n));
  expect("abandoned twice", NRD_OK, nrd_agent_abandon(agent));
  expect("close of an abandoned agent", NRD_OK, nrd_agent_close(agent));
  expect_zeros(block, bytes);
  expect("close once more", NRD_E_HANDLE, nrd_agent_close(agent));
  expect("and no agent to abandon", NRD_E_HANDLE, nrd_agent_abandon(agent));
  expect("or NULL", NRD_E_NULL, nrd_agent_abandon(NULL));
  expect("the same memory holds the next", NRD_OK,
         nrd_agent_init(block, bytes, platform, config, &agent));
  settle();
  expect_state("which boots", NRD_STATE_CLEAN, state());
  expect("and closes", NRD_OK, nrd_agent_close(agent));
}

int main(void) {
  NrdPlatform good = ram_platform();
  NrdConfig config;
  memset(&config, 0, sizeof config);
  config.size = sizeof config;
  config.max_records = 4;
  config.max_value = 64;

  size_t bytes = 0;
  expect("how much memory", NRD_OK, nrd_agent_memory(&good, &config, &bytes));
  expect("no platform", NRD_E_NULL, nrd_agent_memory(NULL, &config, &bytes));
  expect("no config", NRD_E_NULL, nrd_agent_memory(&good, NULL, &bytes));
  expect("no place for the answer", NRD_E_NULL, nrd_agent_memory(&good, &config, NULL));
  uint8_t *room = aligned_alloc(16, (bytes + 79) / 16 * 16);
  if (!room) return 2;
  uint8_t *block = room + 16;

  NrdPlatform bad = good;
  bad.abi = NRD_ABI_VERSION + 1;
  expect("a header of another version", NRD_E_VERSION,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.size -= 8;
  expect("a shorter structure", NRD_E_VERSION, nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.flash_read = NULL;
  expect("a missing callback", NRD_E_NULL, nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.sign = NULL;
  expect("another missing callback", NRD_E_NULL,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.slot_erase = slot_erase;
  expect("one of three slot callbacks", NRD_E_NULL,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.device_id = NULL;
  expect("no device id", NRD_E_NULL, nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.device_id = "";
  expect("an empty device id", NRD_E_DEVICE_ID,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.device_id = "a device id that is longer than 32 characters";
  expect("a long device id", NRD_E_DEVICE_ID,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.device_id = "t\xC3\xA9l\xC3\xA9";
  expect("a device id that is not ASCII", NRD_E_DEVICE_ID,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.certificate_len = 257;
  expect("a certificate that is too long", NRD_E_ARGUMENT,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.flash.size = 4096;
  expect("too little flash", NRD_E_FLASH, nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.flash.write_size = 3;
  expect("a write size that is no power of two", NRD_E_FLASH,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.flash.best_erase = 0;
  expect("no best erase unit", NRD_E_FLASH, nrd_agent_init(block, bytes, &bad, &config, &agent));
  bad = good, bad.flash.size = 0xFFFFF000u;
  expect("a flash whose tables outgrow the memory", NRD_E_MEMORY,
         nrd_agent_init(block, bytes, &bad, &config, &agent));
  expect("memory one byte short", NRD_E_MEMORY,
         nrd_agent_init(block, bytes - 1, &good, &config, &agent));
  expect("memory off its alignment", NRD_E_MEMORY,
         nrd_agent_init(block + 1, bytes, &good, &config, &agent));
  expect("no memory", NRD_E_NULL, nrd_agent_init(NULL, bytes, &good, &config, &agent));
  expect("the answer inside the memory", NRD_E_OVERLAP,
         nrd_agent_init(block, bytes, &good, &config, (NrdAgent **)(void *)(block + 16)));

  char text[128] = "";
  expect("the conformance suite on this port", NRD_OK, nrd_conformance(&good, text, sizeof text));
  printf("     %s\n", text);
  program_fails = 1;
  expect("the conformance suite on a broken one", NRD_E_CONFORMANCE,
         nrd_conformance(&good, text, sizeof text));
  printf("     %s\n", text);
  failures += strlen(text) == 0;
  expect("with a very short text", NRD_E_CONFORMANCE, nrd_conformance(&good, text, 1));
  expect("with no text at all", NRD_E_CONFORMANCE, nrd_conformance(&good, NULL, 0));
  program_fails = 0;
  memset(cells, 0xFF, sizeof cells);
  counter = 0;

  uint8_t did = 0;
  memset(block, 0x5A, bytes);
  expect("memory that holds no agent", NRD_E_HANDLE, nrd_agent_step((NrdAgent *)block, &did));
  expect("no agent", NRD_E_NULL, nrd_agent_step(NULL, &did));
  expect("an agent at an odd address", NRD_E_HANDLE,
         nrd_agent_step((NrdAgent *)(void *)(block + 3), &did));
  expect("init", NRD_OK, nrd_agent_init(block, bytes, &good, &config, &agent));
  expect("a step with no place for its answer", NRD_E_NULL, nrd_agent_step(agent, NULL));
  expect("a step whose answer goes into the agent", NRD_E_OVERLAP,
         nrd_agent_step(agent, block + 64));
  read_fails = 1;
  expect("a flash that cannot be read", NRD_E_HARDWARE, nrd_agent_step(agent, &did));
  read_fails = 0;
  reenter = 1;
  nrd_agent_step(agent, &did);
  reenter = 0;
  expect("a call from a callback", NRD_E_REENTERED, reentered);
  reenter = 2;
  nrd_agent_step(agent, &did);
  reenter = 0;
  expect("close from a callback", NRD_E_REENTERED, reentered);
  expect("an agent with no call to abandon", NRD_OK, nrd_agent_abandon(agent));
  expect("is as it was", NRD_OK, nrd_agent_step(agent, &did));
  settle();
  expect_state("the device is clean", NRD_STATE_CLEAN, state());

  uint8_t out[NRD_MAX_FRAME];
  size_t n = 77;
  expect("put while clean", NRD_E_WRONG_STATE, nrd_agent_put(agent, 3, 1, (uint8_t *)"x", 1));
  expect("put of NULL", NRD_E_NULL, nrd_agent_put(agent, 3, 1, NULL, 4));
  expect("put of more than there is memory", NRD_E_ARGUMENT,
         nrd_agent_put(agent, 3, 1, out, SIZE_MAX));
  expect("put of the session's class", NRD_E_ARGUMENT, nrd_agent_put(agent, 0, 1, out, 4));
  expect("put of an unknown class", NRD_E_ARGUMENT, nrd_agent_put(agent, 9, 1, out, 4));
  expect("get without a buffer's length", NRD_E_NULL, nrd_agent_get(agent, 3, 1, out, 4, NULL));
  expect("get into the agent", NRD_E_OVERLAP, nrd_agent_get(agent, 3, 1, block, 64, &n));
  expect("get while clean", NRD_E_WRONG_STATE, nrd_agent_get(agent, 3, 1, out, 64, &n));
  failures += n != 0;
  expect("a key that no remote has", NRD_E_ARGUMENT, nrd_agent_key(agent, 99, &did));
  NrdStatus status;
  memset(&status, 0, sizeof status);
  expect("a status without its size", NRD_E_VERSION, nrd_agent_status(agent, &status));
  expect("an order of nothing", NRD_E_WRONG_STATE,
         nrd_agent_apply_order(agent, NULL, 0, &did, out, sizeof out, &n));
  memset(out, 0xA5, sizeof out);
  uint8_t answer[192];
  expect("an order of noise", NRD_E_WRONG_STATE,
         nrd_agent_apply_order(agent, out, 200, &did, answer, sizeof answer, &n));
  expect("an order that overlaps its answer", NRD_E_OVERLAP,
         nrd_agent_apply_order(agent, out, 200, &did, out + 100, 192, &n));
  expect("a reply that nobody asked for", NRD_E_WRONG_STATE, nrd_agent_handle_reply(agent, out, 64));
  expect("a proof into too short a buffer", NRD_E_BUFFER_TOO_SMALL,
         nrd_agent_prove_clean(agent, out, answer, 10, &n));
  expect("a proof of NULL", NRD_E_NULL, nrd_agent_prove_clean(agent, NULL, answer, 10, &n));
  sign_fails = 1;
  expect("a device key that does not sign", NRD_E_SIGNING,
         nrd_agent_prove_clean(agent, certificate, out, sizeof out, &n));
  sign_fails = 0;
  expect("and does again", NRD_OK,
         nrd_agent_prove_clean(agent, certificate, out, sizeof out, &n));
  /* A storage check: noise has an answer, a key nobody asked for as well. */
  static uint8_t message[NRD_MAX_MESSAGE], noise[NRD_MAX_MESSAGE];
  memset(noise, 0xA5, sizeof noise);
  expect("an answer into too short a buffer", NRD_E_BUFFER_TOO_SMALL,
         nrd_agent_storage_check(agent, noise, 2, message, sizeof message - 1, &n));
  expect("a message of NULL", NRD_E_NULL,
         nrd_agent_storage_check(agent, NULL, 2, message, sizeof message, &n));
  expect("a message of noise", NRD_OK,
         nrd_agent_storage_check(agent, noise, sizeof noise, message, sizeof message, &n));
  failures += n != 2 || message[0] != 4 || message[1] != 3;
  expect("no message", NRD_OK, nrd_agent_storage_check(agent, NULL, 0, message, sizeof message, &n));
  failures += n != 0;
  expect("the end of no check", NRD_OK, nrd_agent_end_storage_check(agent));
  expect_state("clean as before", NRD_STATE_CLEAN, state());
  random_fails = 1;
  int32_t refused = nrd_agent_start_activation(agent);
  expect("activation without random numbers", NRD_E_RANDOM, refused);
  random_fails = 0;
  expect("and with them", NRD_OK, nrd_agent_start_activation(agent));
  settle();
  expect_state("activating", NRD_STATE_ACTIVATING, state());
  expect("a request into too short a buffer", NRD_E_BUFFER_TOO_SMALL,
         nrd_agent_poll_request(agent, out, 8, &n));
  expect_fault("is a fault", NRD_E_BUFFER_TOO_SMALL);
  NrdNext next;
  memset(&next, 0, sizeof next);
  expect("a poll without its size", NRD_E_VERSION, nrd_agent_poll(agent, out, sizeof out, &next));
  next.size = sizeof next;
  expect("a poll with no place for its answer", NRD_E_NULL,
         nrd_agent_poll(agent, out, sizeof out, NULL));
  expect("a poll whose request goes into the agent", NRD_E_OVERLAP,
         nrd_agent_poll(agent, block, 256, &next));
  expect("a poll whose answer lies in its request", NRD_E_OVERLAP,
         nrd_agent_poll(agent, out, sizeof out, (NrdNext *)(void *)out));
  expect("a poll while the exchange backs off", NRD_OK,
         nrd_agent_poll(agent, out, sizeof out, &next));
  expect("waits", NRD_NEXT_WAIT, next.what);
  sign_fails = 1;
  wait_until_due();
  expect("a poll with a key that does not sign", NRD_OK,
         nrd_agent_poll(agent, out, sizeof out, &next));
  expect("waits as well", NRD_NEXT_WAIT, next.what);
  expect_fault("and says why", NRD_E_SIGNING);
  sign_fails = 0;
  wait_until_due();
  expect("a poll when all is well", NRD_OK, nrd_agent_poll(agent, out, sizeof out, &next));
  expect("posts", NRD_NEXT_POST, next.what);
  expect("a post that nobody can make", NRD_E_NULL,
         nrd_agent_post(agent, NULL, NULL, out, next.request_len));
  expect("and gives it up", NRD_OK, nrd_agent_exchange_failed(agent));
  wait_until_due();

  NrdHttps *https = NULL;
  NrdHttpsConfig trust;
  memset(&trust, 0, sizeof trust);
  trust.size = sizeof trust;
  trust.root = certificate;
  trust.root_len = sizeof certificate;
  trust.authority = "localhost:1";
  trust.exchange_ms = 1000000;
  expect("a root that is no certificate", NRD_E_TLS_ROOT, nrd_https_new(&trust, &https));
  trust.root = NULL;
  expect("no root", NRD_E_NULL, nrd_https_new(&trust, &https));
  trust.root_len = 0;
  expect("a root of nothing", NRD_E_TLS_ROOT, nrd_https_new(&trust, &https));
  FILE *file = fopen("ca.der", "rb");
  static uint8_t ca[4096];
  trust.root = ca;
  trust.root_len = file ? fread(ca, 1, sizeof ca, file) : 0;
  if (file) fclose(file);
  trust.authority = NULL;
  expect("no authority", NRD_E_NULL, nrd_https_new(&trust, &https));
  static char longest[400];
  memset(longest, 'a', sizeof longest - 1);
  trust.authority = longest;
  expect("an authority that is too long", NRD_E_TLS_AUTHORITY, nrd_https_new(&trust, &https));
  trust.authority = "localhost:1";
  trust.next_root = certificate;
  trust.next_root_len = sizeof certificate;
  expect("a next root that is no certificate", NRD_E_TLS_ROOT, nrd_https_new(&trust, &https));
  trust.next_root = ca;
  trust.next_root_len = trust.root_len;
  trust.exchange_ms = 0;
  expect("an exchange without time", NRD_E_ARGUMENT, nrd_https_new(&trust, &https));
  trust.exchange_ms = 1000000;
  trust.size--;
  expect("a shorter configuration", NRD_E_VERSION, nrd_https_new(&trust, &https));
  trust.size++;
  expect("no place for the client", NRD_E_NULL, nrd_https_new(&trust, NULL));
  expect("no configuration", NRD_E_NULL, nrd_https_new(NULL, &https));
  trust.time = no_clock;
  trust.exchange_ms = 1000;
  expect("a good root, and the next", NRD_OK, nrd_https_new(&trust, &https));
  expect("a session to forget where there is none", NRD_OK, nrd_https_forget_session(https));
  expect("and no client", NRD_E_NULL, nrd_https_forget_session(NULL));
  int closed = 0;
  NrdLink link = {sizeof link, &closed, link_ok, lying_read, lying_write, link_close};
  uint8_t happened;
  lead_into_the_agent(block, bytes, https, &link);
  expect("a link that says it wrote more than it got", NRD_E_TLS_IO,
         nrd_agent_exchange(agent, https, &link, &happened));
  wait_until_due();
  link.write = greedy_write;
  expect("a link that says it read more than it was given", NRD_E_TLS_IO,
         nrd_agent_exchange(agent, https, &link, &happened));
  expect_true("both links were closed", closed == 2);
  wait_until_due();
  link.read = drip_read;
  uint64_t begin_ms = now_ms;
  expect("a peer that drips", NRD_E_TLS_DEADLINE,
         nrd_agent_exchange(agent, https, &link, &happened));
  expect_true("is left when its time is over", now_ms - begin_ms < 1500);
  link.close = NULL;
  expect("a link without close", NRD_E_NULL, nrd_agent_exchange(agent, https, &link, &happened));
  expect("an exchange without a client", NRD_E_NULL,
         nrd_agent_exchange(agent, NULL, &link, &happened));
  nrd_https_free(https);
  nrd_https_free(NULL);

  expect("deactivation", NRD_OK, nrd_agent_deactivate(agent));
  settle();
  expect_state("nothing was lost: clean again", NRD_STATE_CLEAN, state());
  expect("and it has a receipt or needs none", NRD_OK, nrd_agent_is_clean(agent, &did));
  failures += did != 1;
  expect("close", NRD_OK, nrd_agent_close(agent));
  expect_zeros(block, bytes);
  expect("a call after close", NRD_E_HANDLE, nrd_agent_step(agent, &did));
  expect("a second close", NRD_E_HANDLE, nrd_agent_close(agent));
  jump_out(block, bytes, &good, &config);
  free(room);
  printf(failures ? "%d checks failed\n" : "every check passed\n", failures);
  return failures != 0;
}
