/* A device's firmware in C, for a Linux set-top box or console: the agent with
 * its flash, counter and keys in the files of a folder.
 *
 *   host DIR HOST:PORT       lives with this service
 *   host DIR conformance     holds this port against its promises; before the
 *                            first start, for it destroys what is on the flash
 *
 * DIR holds what the factory put there: root.key and device.key (32 bytes
 * each), device.id, certificate.bin, service-root.bin and ca.der. Commands come
 * on standard input, what happens goes to standard output, a line each:
 *
 *   activate | deactivate | sign-out | key up|down|left|right
 *   put CLASS ID TEXT | get CLASS ID | forget CLASS | cable HEX | quit
 */
#include "nrd_agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { FLASH_SIZE = 256 * 1024, ERASE_SIZE = 4096, WAIT_S = 1 };

struct board {
  int flash, counter;
  uint8_t root[32], seed[32];
  struct sockaddr_in service;
  int socket;
};

static void die(const char *what) {
  fprintf(stderr, "host: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
  exit(1);
}

static void check(const char *what, int32_t result) {
  if (result != NRD_OK) {
    fprintf(stderr, "host: %s: %d: %s\n", what, result, nrd_error_text(result));
    exit(1);
  }
}

/* ---- flash: a file; programming clears bits, erasing sets them ---- */

static int outside(uint32_t at, uint32_t len) { return at > FLASH_SIZE || len > FLASH_SIZE - at; }

static int32_t flash_read(void *context, uint32_t at, uint8_t *bytes, uint32_t len) {
  struct board *b = context;
  if (outside(at, len)) return NRD_P_OUT_OF_BOUNDS;
  return pread(b->flash, bytes, len, at) == (ssize_t)len ? 0 : NRD_P_UNAVAILABLE;
}

static int32_t flash_program(void *context, uint32_t at, const uint8_t *bytes, uint32_t len) {
  struct board *b = context;
  uint8_t cells[256];
  if (outside(at, len)) return NRD_P_OUT_OF_BOUNDS;
  while (len > 0) {
    uint32_t n = len < sizeof cells ? len : sizeof cells;
    if (pread(b->flash, cells, n, at) != (ssize_t)n) return NRD_P_UNAVAILABLE;
    for (uint32_t i = 0; i < n; i++) cells[i] &= bytes[i];
    if (pwrite(b->flash, cells, n, at) != (ssize_t)n) return NRD_P_OPERATION_FAILED;
    at += n, bytes += n, len -= n;
  }
  return 0;
}

static int32_t flash_erase(void *context, uint32_t from, uint32_t to) {
  struct board *b = context;
  uint8_t blank[ERASE_SIZE];
  if (from > to || outside(from, to - from)) return NRD_P_OUT_OF_BOUNDS;
  if (from % ERASE_SIZE || to % ERASE_SIZE) return NRD_P_NOT_ALIGNED;
  memset(blank, 0xFF, sizeof blank);
  for (; from < to; from += ERASE_SIZE)
    if (pwrite(b->flash, blank, ERASE_SIZE, from) != ERASE_SIZE) return NRD_P_OPERATION_FAILED;
  return 0;
}

/* ---- counter: a file that only this program writes ---- */

static int32_t counter_read(void *context, uint64_t *value) {
  struct board *b = context;
  return pread(b->counter, value, sizeof *value, 0) == sizeof *value ? 0 : NRD_P_UNAVAILABLE;
}

static int32_t counter_increment(void *context) {
  struct board *b = context;
  uint64_t value;
  int32_t failed = counter_read(b, &value);
  if (failed) return failed;
  value++;
  return pwrite(b->counter, &value, sizeof value, 0) == sizeof value ? 0 : NRD_P_OPERATION_FAILED;
}

/* ---- keys: in software, as on a development board ---- */

static int32_t derive(void *context, const uint8_t *label, uint32_t len, const uint64_t *epoch,
                      uint8_t *out) {
  struct board *b = context;
  uint64_t now;
  int32_t failed = counter_read(b, &now);
  if (failed) return failed;
  if (epoch && *epoch < now) return NRD_P_REFUSED;
  return nrd_soft_derive(b->root, label, len, epoch, out);
}

static int32_t sign(void *context, const uint8_t *message, uint32_t len, uint8_t *signature) {
  struct board *b = context;
  return nrd_soft_sign(b->seed, message, len, signature);
}

static int32_t fill_random(void *context, uint8_t *out, uint32_t len) {
  (void)context;
  for (uint32_t done = 0; done < len;) {
    ssize_t n = getrandom(out + done, len - done, 0);
    if (n <= 0) return NRD_P_UNAVAILABLE;
    done += (uint32_t)n;
  }
  return 0;
}

static uint64_t uptime_ms(void *context) {
  static struct timespec boot;
  struct timespec now;
  (void)context;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (boot.tv_sec == 0) boot = now;
  return (uint64_t)(now.tv_sec - boot.tv_sec) * 1000 + (uint64_t)(now.tv_nsec / 1000000) -
         (uint64_t)(boot.tv_nsec / 1000000);
}

#ifdef HOST_CLOCK_S
/* A clock as somebody set it, for tests. */
static uint64_t wall_clock(void *context) {
  (void)context;
  return HOST_CLOCK_S;
}
#endif

/* ---- link: a TCP socket with time-outs ---- */

static int32_t link_connect(void *context) {
  struct board *b = context;
  struct timeval patience = {WAIT_S + 10, 0};
  b->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (b->socket < 0) return -1;
  setsockopt(b->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(b->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(b->socket, (struct sockaddr *)&b->service, sizeof b->service) == 0) return 0;
  close(b->socket);
  return -1;
}

static intptr_t link_read(void *context, uint8_t *bytes, size_t len) {
  return recv(((struct board *)context)->socket, bytes, len, 0);
}

static intptr_t link_write(void *context, const uint8_t *bytes, size_t len) {
  return send(((struct board *)context)->socket, bytes, len, MSG_NOSIGNAL);
}

static void link_close(void *context) { close(((struct board *)context)->socket); }

/* ---- files ---- */

static size_t load(const char *name, uint8_t *bytes, size_t room) {
  int file = open(name, O_RDONLY | O_CLOEXEC);
  ssize_t n = file < 0 ? -1 : read(file, bytes, room);
  if (n < 0) die(name);
  close(file);
  return (size_t)n;
}

static void load_exactly(const char *name, uint8_t *bytes, size_t len) {
  errno = 0;
  if (load(name, bytes, len) != len) die(name);
}

/* A file of `len` bytes of `fill`, made where it does not exist yet. */
static int keep(const char *name, size_t len, uint8_t fill) {
  int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) die(name);
  uint8_t page[ERASE_SIZE];
  memset(page, fill, sizeof page);
  for (off_t at = lseek(file, 0, SEEK_END); (size_t)at < len;) {
    size_t n = len - (size_t)at < sizeof page ? len - (size_t)at : sizeof page;
    if (pwrite(file, page, n, at) != (ssize_t)n) die(name);
    at += (off_t)n;
  }
  return file;
}

/* ---- the main loop ---- */

static const char *const STATES[] = {"booting",    "clean",  "activating",  "active", "locked",
                                     "signed-out", "wiping", "wipe-failed", "filling"};

static NrdAgent *agent;

static void say(const char *what, int32_t result) {
  printf("%s %d %s\n", what, result, nrd_error_text(result));
}

/* One piece of the agent's work, while a desk waits for it. */
static void work(void) {
  uint8_t request[NRD_MAX_FRAME];
  NrdNext next;
  memset(&next, 0, sizeof next);
  next.size = sizeof next;
  check("poll", nrd_agent_poll(agent, request, sizeof request, &next));
}

/* What a returns desk's cable brings: a message, in hexadecimal digits, as its
 * answers are. */
static void cable(const char *hex) {
  uint8_t message[NRD_MAX_MESSAGE], out[NRD_MAX_MESSAGE];
  size_t len = 0, n = 0;
  for (unsigned byte; len < sizeof message && sscanf(hex + 2 * len, "%2x", &byte) == 1; len++)
    message[len] = (uint8_t)byte;
  for (;;) {
    int32_t result = nrd_agent_storage_check(agent, message, len, out, sizeof out, &n);
    len = 0;
    if (result == NRD_E_BUSY) {
      work();
      continue;
    }
    check("storage check", result);
    if (n == 0) return;
    printf("cable ");
    for (size_t i = 0; i < n; i++) printf("%02x", out[i]);
    printf("\n");
  }
}

static void obey(char *line) {
  char text[256], what[16];
  unsigned class = 0, id = 0;
  uint8_t bytes[NRD_MAX_FRAME];
  size_t n;
  if (strcmp(line, "quit") == 0) {
    check("close", nrd_agent_close(agent));
    exit(0);
  } else if (strcmp(line, "activate") == 0) {
    say(line, nrd_agent_start_activation(agent));
  } else if (strcmp(line, "deactivate") == 0) {
    say(line, nrd_agent_deactivate(agent));
  } else if (strcmp(line, "sign-out") == 0) {
    say(line, nrd_agent_sign_out(agent));
  } else if (sscanf(line, "key %15s", what) == 1) {
    uint8_t menu = 0, key = strcmp(what, "up") == 0     ? NRD_KEY_UP
                            : strcmp(what, "down") == 0 ? NRD_KEY_DOWN
                            : strcmp(what, "left") == 0 ? NRD_KEY_LEFT
                                                        : NRD_KEY_RIGHT;
    check("key", nrd_agent_key(agent, key, &menu));
    if (menu) printf("menu\n");
  } else if (sscanf(line, "put %u %u %255[^\n]", &class, &id, text) == 3) {
    say("put", nrd_agent_put(agent, (uint8_t)class, (uint16_t)id, (uint8_t *)text, strlen(text)));
  } else if (sscanf(line, "get %u %u", &class, &id) == 2) {
    int32_t got = nrd_agent_get(agent, (uint8_t)class, (uint16_t)id, bytes, sizeof bytes, &n);
    if (got == NRD_OK)
      printf("got %.*s\n", (int)n, (char *)bytes);
    else
      say("get", got);
  } else if (sscanf(line, "forget %u", &class) == 1) {
    say("forget", nrd_agent_forget(agent, (uint8_t)class));
  } else if (strncmp(line, "cable ", 6) == 0) {
    cable(line + 6);
  } else {
    printf("unknown command\n");
  }
}

/* Shows what has changed. */
static void show(void) {
  static int shown = -1;
  static int32_t fault;
  static uint32_t generation;
  static char code[13];
  NrdStatus status;
  memset(&status, 0, sizeof status);
  status.size = sizeof status;
  check("status", nrd_agent_status(agent, &status));
  if (status.state != shown && status.state != NRD_STATE_BOOTING) {
    shown = status.state;
    uint8_t name[32];
    size_t n = 0;
    if (status.state == NRD_STATE_ACTIVE && nrd_agent_display_name(agent, name, sizeof name, &n) != NRD_OK)
      n = 0;
    printf("state %s %.*s\n", STATES[status.state], (int)n, (char *)name);
  }
  if (status.code[0] && strcmp(code, status.code) != 0) printf("code %s\n", status.code);
  if (status.generation > generation && generation) printf("renewed\n");
  if (status.fault != fault) say("fault", status.fault);
  memcpy(code, status.code, sizeof code);
  generation = status.generation;
  fault = status.fault;
}

/* Waits for a command at most until the uptime `until_ms`, or half a second. */
static int listen_until(uint64_t until_ms) {
  uint64_t now = uptime_ms(NULL), pause = until_ms > now ? until_ms - now : 0;
  struct pollfd input = {0, POLLIN, 0};
  char line[1024];
  if (poll(&input, 1, pause < 500 ? (int)pause : 500) <= 0) return 1;
  if (!fgets(line, sizeof line, stdin)) return 0;
  line[strcspn(line, "\n")] = 0;
  obey(line);
  return 1;
}

static void start(const NrdConfig *config, const NrdPlatform *platform) {
  static void *memory;
  size_t bytes = 0;
  check("memory", nrd_agent_memory(platform, config, &bytes));
  if (!memory) {
    memory = aligned_alloc(16, (bytes + 15) / 16 * 16);
    printf("memory %zu\n", bytes);
  }
  if (!memory) die("memory");
  check("init", nrd_agent_init(memory, bytes, platform, config, &agent));
}

int main(int argc, char **argv) {
  static struct board board;
  static uint8_t certificate[256], public_key[32], ca[4096];
  static char id[33];
  setvbuf(stdout, NULL, _IOLBF, 0);
  /* poll(2) sees no line that stdio has read ahead. */
  setvbuf(stdin, NULL, _IONBF, 0);
  int conform = argc == 3 && strcmp(argv[2], "conformance") == 0;
  char *colon = argc == 3 ? strrchr(argv[2], ':') : NULL;
  if (!colon && !conform) {
    fprintf(stderr, "usage: host DIR HOST:PORT | host DIR conformance\n");
    return 2;
  }
  if (nrd_abi_version() != NRD_ABI_VERSION) {
    fprintf(stderr, "host: header and library are of different versions\n");
    return 1;
  }
  board.service.sin_family = AF_INET;
  board.service.sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 0));
  board.service.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (chdir(argv[1])) die(argv[1]);

  NrdConfig config;
  memset(&config, 0, sizeof config);
  config.size = sizeof config;
  config.wait_s = WAIT_S;
  config.max_records = 16;
  config.max_value = 512;
  load_exactly("service-root.bin", config.service_root, 32);
  load_exactly("root.key", board.root, 32);
  load_exactly("device.key", board.seed, 32);
  board.flash = keep("flash.bin", FLASH_SIZE, 0xFF);
  board.counter = keep("counter", 8, 0);
  load("device.id", (uint8_t *)id, sizeof id - 1);
  check("public key", nrd_soft_public_key(board.seed, public_key));

  NrdPlatform platform;
  memset(&platform, 0, sizeof platform);
  platform.size = sizeof platform;
  platform.abi = NRD_ABI_VERSION;
  platform.context = &board;
  platform.flash = (NrdGeometry){FLASH_SIZE, 1, ERASE_SIZE, 65536, 1};
  platform.flash_read = flash_read;
  platform.flash_program = flash_program;
  platform.flash_erase = flash_erase;
  platform.counter_read = counter_read;
  platform.counter_increment = counter_increment;
  platform.counter_endurance = 100000;
  platform.derive = derive;
  platform.refuses_past_epochs = 1;
  platform.random = fill_random;
  platform.sign = sign;
  platform.uptime_ms = uptime_ms;
  platform.device_id = id;
  platform.public_key = public_key;
  platform.certificate = certificate;
  platform.certificate_len = (uint32_t)load("certificate.bin", certificate, sizeof certificate);

  if (conform) {
    char why[128] = "every part keeps its promises";
    int32_t result = nrd_conformance(&platform, why, sizeof why);
    printf("conformance %d %s\n", result, why);
    return result != NRD_OK;
  }

  NrdHttps *https = NULL;
  NrdHttpsConfig trust;
  memset(&trust, 0, sizeof trust);
  trust.size = sizeof trust;
  trust.root = ca;
  trust.root_len = load("ca.der", ca, sizeof ca);
  trust.authority = argv[2];
  /* Without a clock certificates are judged by what the service signed. */
#ifdef HOST_CLOCK_S
  trust.time = wall_clock;
#endif
  trust.exchange_ms = (WAIT_S + 30) * 1000;
  check("https", nrd_https_new(&trust, &https));
  NrdLink link = {sizeof link, &board, link_connect, link_read, link_write, link_close};

  start(&config, &platform);
  for (;;) {
    uint8_t request[NRD_MAX_FRAME];
    NrdNext next;
    memset(&next, 0, sizeof next);
    next.size = sizeof next;
    check("poll", nrd_agent_poll(agent, request, sizeof request, &next));
    show();
    switch (next.what) {
      case NRD_NEXT_AGAIN: continue;
      case NRD_NEXT_POST: {
        int32_t failed = nrd_agent_post(agent, https, &link, request, next.request_len);
        if (failed != NRD_OK) say("exchange", failed);
        break;
      }
      case NRD_NEXT_WAIT: break;
      case NRD_NEXT_RESET:
        /* What a product does with a platform reset. */
        check("close", nrd_agent_close(agent));
        printf("restart heap %zu\n", nrd_heap_peak());
        start(&config, &platform);
        break;
      default: die("a next step that this header does not know");
    }
    if (!listen_until(next.what == NRD_NEXT_WAIT ? next.until_ms : 0)) return 0;
  }
}
