/* The run loops of the documentation, as they stand there: header_loop.inc is the
 * one of nrd_agent.h, porting_loop.inc that of docs/PORTING.md; the test takes them
 * out. A device in memory that nobody serves boots, asks for a code again and
 * again, meets faults, is deactivated, and asks for a reset. */
#include "ram_port.h"

#include <stdio.h>
#include <stdlib.h>

static jmp_buf ended;
static int waits, connects;

/* ---- the board ---- */

static void fail(const char *what) {
  printf("FAIL %s\n", what);
  exit(1);
}

static int32_t link_down(void *c) {
  (void)c;
  connects++;
  return -1;
}
static intptr_t no_read(void *c, uint8_t *bytes, size_t len) {
  (void)c, (void)bytes, (void)len;
  return -1;
}
static intptr_t no_write(void *c, const uint8_t *bytes, size_t len) {
  (void)c, (void)bytes, (void)len;
  return -1;
}
static void no_close(void *c) { (void)c; }

/* Sleeps; what a person does meanwhile, and what goes wrong. */
static void sleep_until(uint64_t until_ms) {
  if (++waits > 1000) fail("the loop never ends");
  if (waits == 1 && nrd_agent_start_activation(agent) != NRD_OK) fail("no activation");
  sign_fails = waits == 3;
  program_fails = waits == 4;
  if (waits == 12) {
    if (nrd_agent_deactivate(agent) != NRD_OK) fail("no deactivation");
    return;
  }
  if (until_ms != UINT64_MAX && now_ms < until_ms) now_ms = until_ms;
}

/* The wipe is over. */
static void reset(void) { longjmp(ended, 1); }

/* ---- what PORTING leaves to its operating system ---- */

typedef uint32_t TickType_t;
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms))
struct message {
  int what;
};
static int xQueueReceive(void *inbox, struct message *message, TickType_t ticks) {
  (void)inbox;
  message->what = 0;
  if (ticks == 0) return 0;
  sleep_until(now_ms + ticks);
  return 1;
}
static void board_reset(void) { reset(); }
static uint64_t board_uptime_ms(void) { return now_ms; }
static void obey(const struct message *message) {
  if (message->what) fail("a message that nobody sent");
}

/* ---- the loops ---- */

static void header_loop(const NrdHttps *https, NrdLink link) {
#include "header_loop.inc"
}

static void porting_loop(const NrdHttps *https, NrdLink link, void *inbox) {
#include "porting_loop.inc"
}

static void live(const char *whose, int porting) {
  NrdPlatform platform = ram_platform();
  NrdConfig config;
  memset(&config, 0, sizeof config);
  config.size = sizeof config;
  config.max_records = 4;
  config.max_value = 64;
  size_t bytes = 0;
  if (nrd_agent_memory(&platform, &config, &bytes) != NRD_OK) fail("memory");
  void *block = aligned_alloc(16, (bytes + 15) / 16 * 16);
  if (!block || nrd_agent_init(block, bytes, &platform, &config, &agent) != NRD_OK) fail("init");

  static uint8_t ca[4096];
  FILE *file = fopen("ca.der", "rb");
  NrdHttpsConfig trust;
  memset(&trust, 0, sizeof trust);
  trust.size = sizeof trust;
  trust.exchange_ms = 30000;
  trust.root = ca;
  trust.root_len = file ? fread(ca, 1, sizeof ca, file) : 0;
  if (file) fclose(file);
  trust.authority = "localhost:1";
  NrdHttps *https = NULL;
  if (nrd_https_new(&trust, &https) != NRD_OK) fail("https");
  NrdLink link = {sizeof link, NULL, link_down, no_read, no_write, no_close};

  waits = connects = 0;
  if (setjmp(ended) == 0) {
    if (porting)
      porting_loop(https, link, NULL);
    else
      header_loop(https, link);
  }
  if (waits < 12) fail("a reset before the wipe");
  if (connects < 3) fail("hardly a request");
  NrdStatus status;
  memset(&status, 0, sizeof status);
  status.size = sizeof status;
  if (nrd_agent_status(agent, &status) != NRD_OK || status.state != NRD_STATE_CLEAN)
    fail("the device is not clean");
  nrd_https_free(https);
  if (nrd_agent_close(agent) != NRD_OK) fail("close");
  free(block);
  printf("%s: %d requests, %d waits, then a reset\n", whose, connects, waits);
}

int main(void) {
  live("header", 0);
  live("PORTING", 1);
  return 0;
}
