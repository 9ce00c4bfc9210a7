/* The C interface of the Netflix-ready device agent. Not affiliated with Netflix.
 *
 * Made by `cargo run -p nrd-tests --bin header`; do not edit. How to port:
 * docs/PORTING.md.
 *
 * Memory   The agent lives in a block that the caller lends; only HTTPS
 *          allocates, from C's heap.
 * Threads  One call at a time. A call from a callback, or from a second
 *          thread, is refused: NRD_E_REENTERED.
 * Callbacks  Each returns to the call that made it. None may call the agent,
 *          leave by longjmp, a C++ exception or the end of its thread, free or
 *          move the agent's memory, or keep a pointer that it was given. After a
 *          call that was left by a jump all the same, only nrd_agent_abandon and
 *          then nrd_agent_close end the agent and overwrite its memory; what
 *          HTTPS held on the heap is lost, and may hold a token: restart.
 * Errors   Negative numbers that never change their meaning; after any of
 *          them nothing is lost, and the same call may be made again.
 * Buffers  The caller's, not kept after the call, and apart from each other and
 *          from the agent's memory, which no pointer may lead into: every call
 *          answers NRD_E_OVERLAP. NULL only where the length is 0.
 * Panics   None cross. The library calls abort() instead: for the agent a
 *          power cut, which it survives at any instant. */

#ifndef NRD_AGENT_H
#define NRD_AGENT_H

#include <stddef.h>
#include <stdint.h>

// The version of this interface. `NrdPlatform.abi` carries the header's; the
// library refuses another one (`NRD_E_VERSION`).
#define NRD_ABI_VERSION 3

// Done.
#define NRD_OK 0

// Step the agent until it is idle, then try again.
#define NRD_E_BUSY -1

// The device's state does not allow this.
#define NRD_E_WRONG_STATE -2

// No such record.
#define NRD_E_NOT_FOUND -3

// The record does not authenticate; write or remove it.
#define NRD_E_CORRUPT -4

// The cache is full: remove something first.
#define NRD_E_FULL -5

// The value is longer than a record can hold.
#define NRD_E_TOO_LONG -6

// The buffer is too short.
#define NRD_E_BUFFER_TOO_SMALL -7

// The flash is worn out.
#define NRD_E_WORN_OUT -8

// A callback reported a failure; try again.
#define NRD_E_HARDWARE -9

// The random generator fails its health test.
#define NRD_E_RANDOM -10

// The cipher refused.
#define NRD_E_CRYPTO -11

// A frame was refused; nothing changed.
#define NRD_E_FRAME -12

// A frame is for another device, activation or request.
#define NRD_E_NOT_FOR_US -13

// The device key could not sign; try again.
#define NRD_E_SIGNING -14

// The bytes are too short for a frame, or one of another type.
#define NRD_E_FRAME_TYPE -15

// The frame's signature does not verify under the expected key.
#define NRD_E_SIGNATURE -16

// The order is signed by an order key that is not in force here; the service
// signs it anew. It was not verified, so nothing answers it.
#define NRD_E_KEY_RETIRED -17

// The pinned root is no certificate.
#define NRD_E_TLS_ROOT -101

// The service's name is neither a DNS name nor an address.
#define NRD_E_TLS_AUTHORITY -102

// No connection.
#define NRD_E_TLS_CONNECT -103

// The connection broke or timed out.
#define NRD_E_TLS_IO -104

// The service's certificate was not issued by the pinned root.
#define NRD_E_TLS_UNKNOWN_ISSUER -105

// The service's certificate is not valid now: check the clock.
#define NRD_E_TLS_EXPIRED -106

// The service's certificate is for another name.
#define NRD_E_TLS_WRONG_NAME -107

// The service's certificate was refused for another reason.
#define NRD_E_TLS_CERTIFICATE -108

// The peer speaks no TLS 1.3.
#define NRD_E_TLS_VERSION -109

// The peer broke the TLS protocol.
#define NRD_E_TLS_PROTOCOL -110

// The peer closed before its answer was complete.
#define NRD_E_TLS_CLOSED -111

// The answer is not the HTTP that was agreed.
#define NRD_E_TLS_HTTP -112

// The service answered with an HTTP status other than 200.
#define NRD_E_TLS_STATUS -113

// The answer is larger than any reply may be.
#define NRD_E_TLS_TOO_LARGE -114

// The answer's status line and fields are longer than 8192 bytes.
#define NRD_E_TLS_HEAD -115

// The answer's transfer or content coding is none that is understood.
#define NRD_E_TLS_ENCODING -116

// The exchange took longer than `NrdHttpsConfig.exchange_ms`.
#define NRD_E_TLS_DEADLINE -117

// A pointer that must not be NULL is NULL, or a callback is missing.
#define NRD_E_NULL -201

// This is no agent, or it was closed.
#define NRD_E_HANDLE -202

// Header and library are of different versions: rebuild one of them.
#define NRD_E_VERSION -203

// Two buffers overlap, or one lies in the agent's own memory.
#define NRD_E_OVERLAP -204

// The agent is already in a call: from a callback, or on another thread. If a
// callback left that call by a jump, see `nrd_agent_abandon`.
#define NRD_E_REENTERED -205

// An argument is out of its range.
#define NRD_E_ARGUMENT -206

// The lent memory is too small or not aligned to 16 bytes.
#define NRD_E_MEMORY -207

// The flash's sizes cannot hold two key slots, a journal and a vault.
#define NRD_E_FLASH -208

// The device id is not 1 to 32 bytes of printable ASCII.
#define NRD_E_DEVICE_ID -209

// The port breaks a promise; the text says which.
#define NRD_E_CONFORMANCE -210

// A call of this agent was left by a jump: end it with `nrd_agent_close`.
#define NRD_E_ABANDONED -211

// The range lies outside the part.
#define NRD_P_OUT_OF_BOUNDS 1

// Offset or length does not fit the part's units.
#define NRD_P_NOT_ALIGNED 2

// Bits that the part's error correction could not mend.
#define NRD_P_ECC 3

// The part's own failure flag.
#define NRD_P_OPERATION_FAILED 4

// No write cycles left.
#define NRD_P_WORN_OUT 5

// Refused on principle, such as a root key asked for a past epoch.
#define NRD_P_REFUSED 6

// No answer now; try later.
#define NRD_P_UNAVAILABLE 7

// Not yet known: step the agent.
#define NRD_STATE_BOOTING 0

// No account, no secret.
#define NRD_STATE_CLEAN 1

// A code is shown, or about to be.
#define NRD_STATE_ACTIVATING 2

// An account holder is remembered.
#define NRD_STATE_ACTIVE 3

// Access is closed; `lock_reason` says why.
#define NRD_STATE_LOCKED 4

// Signed out; still on the account's list.
#define NRD_STATE_SIGNED_OUT 5

// A wipe is under way.
#define NRD_STATE_WIPING 6

// A wipe ended, but some part would not erase.
#define NRD_STATE_WIPE_FAILED 7

// No account, no secret; a storage check fills the vault, or erases it again.
#define NRD_STATE_FILLING 8

// Not locked.
#define NRD_LOCK_NONE 0

// The lease ran out; a check-in opens it again.
#define NRD_LOCK_LEASE_EXPIRED 1

// The service revoked this activation.
#define NRD_LOCK_REVOKED 2

// A newer policy asks for consent on the account page.
#define NRD_LOCK_CONSENT_DUE 3

// A retired token was used somewhere.
#define NRD_LOCK_THEFT_SUSPECTED 4

// The journal is unreadable; only a wipe helps.
#define NRD_LOCK_JOURNAL_LOST 5

// The session record or the key slot is unreadable: sign in again, with
// `nrd_agent_start_activation`. No wipe is needed, and none happens.
#define NRD_LOCK_SESSION_LOST 6

// The journal takes no writes. Access opens again as soon as it does.
#define NRD_LOCK_NOT_STORED 7

// A part that the boot needs does not answer. It is asked again.
#define NRD_LOCK_NOT_ANSWERING 8

// The session: the account holder signs in again.
#define NRD_LOST_SESSION 1

// An undelivered receipt. The next receipt counts it as dropped.
#define NRD_LOST_RECEIPT 2

// The service's keys. They are asked for again.
#define NRD_LOST_DELEGATION 4

// The snapshot: the device is locked until a person wipes it.
#define NRD_LOST_SNAPSHOT 8

// Nothing to do until time passes, a call or a reply.
#define NRD_STEP_IDLE 0

// Did one bounded piece of work: call again.
#define NRD_STEP_WORKING 1

// A wipe ended: restart the platform now if you can.
#define NRD_STEP_RESET_ADVISED 2

// There may be more work: call `nrd_agent_poll` again now.
#define NRD_NEXT_AGAIN 0

// Post the first `request_len` bytes of the request buffer to the service.
// Then call `nrd_agent_handle_reply` with the reply's body, or
// `nrd_agent_exchange_failed` when none came; `nrd_agent_post` does both.
#define NRD_NEXT_POST 1

// Nothing to do until the platform's uptime has reached `until_ms`, or until
// a call: poll again after every call. Too early does no harm.
#define NRD_NEXT_WAIT 2

// A wipe ended: restart the platform now if you can; otherwise poll again.
#define NRD_NEXT_RESET 3

// Name and nickname.
#define NRD_CLASS_NAME 1

// Postal address.
#define NRD_CLASS_POSTAL_ADDRESS 2

// E-mail address.
#define NRD_CLASS_EMAIL 3

// Payment method.
#define NRD_CLASS_PAYMENT 4

// Telephone number.
#define NRD_CLASS_TELEPHONE 5

// Profiles.
#define NRD_CLASS_PROFILES 6

// Activity.
#define NRD_CLASS_ACTIVITY 7

// ↑
#define NRD_KEY_UP 0

// ↓
#define NRD_KEY_DOWN 1

// ←
#define NRD_KEY_LEFT 2

// →
#define NRD_KEY_RIGHT 3

// Any other key.
#define NRD_KEY_OTHER 4

// Applied, and durable.
#define NRD_ORDER_APPLIED 0

// It had been applied before.
#define NRD_ORDER_ALREADY_APPLIED 1

// It does not apply to this state.
#define NRD_ORDER_NOT_APPLICABLE 2

// A later order came first, or it is of a past epoch.
#define NRD_ORDER_STALE 3

// Bytes that the longest request, reply, receipt or proof needs.
#define NRD_MAX_FRAME 1536

// Bytes of the longest message of a storage check, without its length.
#define NRD_MAX_MESSAGE 643

// The agent, in memory that the caller lent.
typedef struct NrdAgent NrdAgent;

// A client that trusts one private root.
typedef struct NrdHttps NrdHttps;

// Sizes of the flash, in bytes.
typedef struct NrdGeometry {
  // Total size.
  uint32_t size;
  // Smallest programmable unit, 1 to 256, a power of two.
  uint32_t write_size;
  // Smallest erasable unit, 256 to 65536, a power of two.
  uint32_t erase_size;
  // The most efficient erase unit; `erase_size` if unknown.
  uint32_t best_erase;
  // 1 when a programmed unit may be programmed again to clear more bits.
  uint8_t can_overwrite;
} NrdGeometry;

// Reads `len` bytes at `offset`.
typedef int32_t (*NrdRead)(void*, uint32_t, uint8_t*, uint32_t);

// Programs `len` bytes at `offset`.
typedef int32_t (*NrdProgram)(void*, uint32_t, const uint8_t*, uint32_t);

// Erases `from` to `to`.
typedef int32_t (*NrdErase)(void*, uint32_t, uint32_t);

// Reads `len` bytes from the start of slot 0 or 1.
typedef int32_t (*NrdSlotRead)(void*, uint8_t, uint8_t*, uint32_t);

// Writes `len` bytes (at most 256) at the start of an erased slot.
typedef int32_t (*NrdSlotWrite)(void*, uint8_t, const uint8_t*, uint32_t);

// Erases a slot: it reads 0xFF afterwards.
typedef int32_t (*NrdSlotErase)(void*, uint8_t);

// The counter's value.
typedef int32_t (*NrdCounterRead)(void*, uint64_t*);

// Raises the counter by one.
typedef int32_t (*NrdCounterIncrement)(void*);

// Derives 32 bytes from the root and a label. `epoch` is NULL for a key that
// outlives wipes; otherwise the key is bound to `*epoch` as well.
typedef int32_t (*NrdDerive)(void*, const uint8_t*, uint32_t, const uint64_t*, uint8_t*);

// Fills `len` bytes from the hardware's random generator.
typedef int32_t (*NrdRandom)(void*, uint8_t*, uint32_t);

// Signs `len` bytes with the device's Ed25519 key, into 64 bytes.
typedef int32_t (*NrdSign)(void*, const uint8_t*, uint32_t, uint8_t*);

// Milliseconds since this boot.
typedef uint64_t (*NrdUptime)(void*);

// Unix seconds; 0 when the hardware has no clock or it is not set.
typedef uint64_t (*NrdWall)(void*);

// The port: what the agent calls. Copied by `nrd_agent_init`; `context` and
// the functions must stay valid until `nrd_agent_close`. No callback may call
// the agent. Each answers 0, or a number that says why not (`NRD_P_…`).
typedef struct NrdPlatform {
  // `sizeof(NrdPlatform)`.
  uint32_t size;
  // `NRD_ABI_VERSION`.
  uint32_t abi;
  // Handed to every callback.
  void *context;
  // The flash's sizes. The agent lays it out itself: two key slots,
  // journal, vault.
  struct NrdGeometry flash;
  // Required.
  NrdRead flash_read;
  // Required.
  NrdProgram flash_program;
  // Required.
  NrdErase flash_erase;
  // NULL when the key slots lie on the flash; otherwise all three are set.
  NrdSlotRead slot_read;
  // See `slot_read`.
  NrdSlotWrite slot_write;
  // See `slot_read`.
  NrdSlotErase slot_erase;
  // 1 when erasing a slot only hides the old bytes (a flash translation
  // layer beneath, as in eMMC): the receipt then claims no more.
  uint8_t slots_logical_only;
  // Required.
  NrdCounterRead counter_read;
  // Required.
  NrdCounterIncrement counter_increment;
  // Increments that the counter is rated for.
  uint64_t counter_endurance;
  // Required.
  NrdDerive derive;
  // 1 when the part itself refuses epochs below the counter.
  uint8_t refuses_past_epochs;
  // Required.
  NrdRandom random;
  // Required.
  NrdSign sign;
  // Required.
  NrdUptime uptime_ms;
  // NULL when the hardware has no battery-backed clock.
  NrdWall wall_s;
  // 1 to 32 printable ASCII characters, NUL-terminated. Copied.
  const char *device_id;
  // The device's Ed25519 public key, 32 bytes. Copied.
  const uint8_t *public_key;
  // The maker certificate. Copied.
  const uint8_t *certificate;
  // Its length, at most 256 bytes.
  uint32_t certificate_len;
} NrdPlatform;

// Settings that a product fixes in its firmware.
typedef struct NrdConfig {
  // `sizeof(NrdConfig)`.
  uint32_t size;
  // The service's root public key (Ed25519), pinned by the firmware.
  uint8_t service_root[32];
  // The counter's value as the device left the factory.
  uint64_t factory_epoch;
  // Seconds a check-in may wait for an order; 0 for firmware that keeps no
  // connection open.
  uint16_t wait_s;
  // Most records that the product caches.
  uint16_t max_records;
  // The longest value it caches, in bytes.
  uint16_t max_value;
  // Version of `service_root`; 0 for a service's first root.
  uint32_t root_version;
} NrdConfig;

// What a host does next: `nrd_agent_poll` fills it.
typedef struct NrdNext {
  // `sizeof(NrdNext)`, set by the caller.
  uint32_t size;
  // `NRD_NEXT_…`
  uint8_t what;
  // `NRD_NEXT_POST`: the request's length, in bytes. Otherwise 0.
  uint32_t request_len;
  // `NRD_NEXT_WAIT`: the uptime to sleep until, in milliseconds as
  // `NrdPlatform.uptime_ms` counts them; `UINT64_MAX` for as long as nobody
  // calls. Otherwise 0.
  uint64_t until_ms;
} NrdNext;

// The device's state, for its screen.
typedef struct NrdStatus {
  // `sizeof(NrdStatus)`, set by the caller.
  uint32_t size;
  // `NRD_STATE_…`
  uint8_t state;
  // `NRD_LOCK_…`
  uint8_t lock_reason;
  // 1 when access is open.
  uint8_t open;
  // 1 when the counter is worn out: the device will not activate again.
  uint8_t worn_out;
  // Receipts not yet delivered.
  uint8_t receipts;
  // The pictogram to show beside the code, 0 to 15.
  uint8_t pictogram;
  // The code to show while activating, NUL-terminated; empty for none.
  char code[13];
  // Sectors wiped so far.
  uint32_t wipe_done;
  // Sectors to wipe in all; 0 when no wipe is under way.
  uint32_t wipe_total;
  // Powered seconds until access closes.
  uint64_t left_s;
  // Powered seconds until the device wipes itself; `UINT64_MAX` for never.
  uint64_t dead_man_s;
  // The policy version consented to; 0 for none.
  uint32_t policy;
  // The token's generation; goes up with each renewal. 0 without a session.
  uint32_t generation;
  // Bytes of a storage check stored, read back and erased so far.
  uint32_t proof_done;
  // Bytes of it in all; 0 when none is under way.
  uint32_t proof_total;
  // What failed last in `nrd_agent_poll` and has not succeeded since:
  // `NRD_OK`, or an `NRD_E_…`. The agent tries again by itself.
  int32_t fault;
  // `NRD_LOST_…`, added up. The service is told too.
  uint8_t losses;
} NrdStatus;

// Unix seconds of a clock that can be trusted; 0 when it is not set.
typedef uint64_t (*NrdTime)(void*);

// What a client trusts, and how long it waits. Copied by `nrd_https_new`;
// `time` must stay valid until `nrd_https_free`.
typedef struct NrdHttpsConfig {
  // `sizeof(NrdHttpsConfig)`.
  uint32_t size;
  // Milliseconds that an exchange may take in all, longer than
  // `NrdConfig.wait_s`. A call of `NrdLink` that blocks may add its own
  // time-out.
  uint32_t exchange_ms;
  // The pinned root, a certificate (DER).
  const uint8_t *root;
  // Its length, in bytes.
  size_t root_len;
  // The next root, while the service moves to it: either may have signed.
  // NULL for none.
  const uint8_t *next_root;
  // Its length, in bytes; 0 for none.
  size_t next_root_len;
  // The service's name or address with its port, NUL-terminated, at most 255
  // bytes, such as `service.example:8443`.
  const char *authority;
  // When the firmware was built, in Unix seconds; 0 for unknown.
  uint64_t built_s;
  // Asked at every connection, when certificates are judged. NULL for what the
  // agent knows: `NrdPlatform.wall_s`, or else the newest time that the
  // service's keys signed. Where it answers 0 the agent's knowledge counts.
  NrdTime time;
  // Handed to `time`.
  void *time_context;
} NrdHttpsConfig;

// A byte stream to the service, such as a TCP socket. Copied by the call that
// uses it.
typedef struct NrdLink {
  // `sizeof(NrdLink)`.
  uint32_t size;
  // Handed to every callback.
  void *context;
  // Connects, within the port's own time-out; 0 when connected.
  int32_t (*connect)(void*);
  // Reads at most `len` bytes: how many, 0 at the end of the stream, or a
  // negative number. Blocks for at most the port's own time-out, which must
  // be longer than `NrdConfig.wait_s`.
  ptrdiff_t (*read)(void*, uint8_t*, size_t);
  // Writes at most `len` bytes: how many, or a negative number.
  ptrdiff_t (*write)(void*, const uint8_t*, size_t);
  // Closes; called once after each successful `connect`.
  void (*close)(void*);
} NrdLink;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The interface version of this library: compare it with `NRD_ABI_VERSION`.
uint32_t nrd_abi_version(void);

// Writes into `*bytes` how much memory an agent needs.
//
// Errors: `NRD_E_NULL`, `NRD_E_VERSION`, `NRD_E_FLASH` (the flash is too small
// or its sizes make no sense).
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_memory(const struct NrdPlatform *platform,
                         const struct NrdConfig *config,
                         size_t *bytes);

// Builds an agent in `memory` (`memory_len` bytes, aligned to 16, as from
// `malloc`) and writes it to `*agent`. Reads nothing from the flash yet: call
// `nrd_agent_poll`. The memory belongs to the agent until `nrd_agent_close`.
//
// Errors: `NRD_E_NULL` (a pointer or a required callback), `NRD_E_VERSION`,
// `NRD_E_FLASH`, `NRD_E_MEMORY`, `NRD_E_DEVICE_ID`, `NRD_E_ARGUMENT`.
//
// # Safety
// The pointers are NULL or valid, and `memory` is used by nothing else.
int32_t nrd_agent_init(void *memory,
                       size_t memory_len,
                       const struct NrdPlatform *platform,
                       const struct NrdConfig *config,
                       struct NrdAgent **agent);

// Ends the agent: its keys and its memory are overwritten with zeros, then
// the memory is the caller's again. Nothing on the flash changes.
//
// # Safety
// `agent` is NULL or readable, and no other thread uses it.
int32_t nrd_agent_close(struct NrdAgent *agent);

// Tells that the call under way was left by a jump out of a callback (`longjmp`,
// a C++ exception, a thread that was ended) and will never return. No callback
// may do so; where it happened all the same, nothing is left to do with the agent
// but to end it: from then on every call but `nrd_agent_close` answers
// `NRD_E_ABANDONED`. Nothing changes when no call is under way, or on the flash.
// Never call it while the call may still return, as from a callback.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_abandon(struct NrdAgent *agent);

// The run loop of every host: does at most one bounded piece of pending work
// (one erase block, one sector's copy or a few programs), or else writes the
// next request into `request` (`NRD_MAX_FRAME` bytes are always enough), and
// says in `*next`, whose `size` the caller has set, what the host does next.
//
// What fails inside is tried again: at once a few times, then with pauses,
// until it succeeds; `NrdStatus.fault` says what it is. So a host needs no
// count of errors of its own. An error of this call is one of the arguments,
// and `*next` is then not written.
//
// ```c
// uint8_t request[NRD_MAX_FRAME];
// NrdNext next = {0};
// next.size = sizeof next;
// for (;;) {
//   if (nrd_agent_poll(agent, request, sizeof request, &next) != NRD_OK) abort();
//   switch (next.what) {
//   case NRD_NEXT_AGAIN: break;
//   case NRD_NEXT_POST: nrd_agent_post(agent, https, &link, request, next.request_len); break;
//   case NRD_NEXT_WAIT: sleep_until(next.until_ms); break;
//   case NRD_NEXT_RESET: reset(); break;
//   }
// }
// ```
//
// Errors: `NRD_E_NULL`, `NRD_E_HANDLE`, `NRD_E_VERSION`, `NRD_E_OVERLAP`,
// `NRD_E_REENTERED`, `NRD_E_ARGUMENT`.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_poll(struct NrdAgent *agent,
                       uint8_t *request,
                       size_t request_size,
                       struct NrdNext *next);

// Does one bounded piece of pending work (at most one erase block, one
// sector's copy or a few programs) and writes an `NRD_STEP_…` to `*did`. The
// layer below `nrd_agent_poll`, for hosts that must split the work: after an
// error `*did` is not written.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_step(struct NrdAgent *agent, uint8_t *did);

// Fills `*status`, whose `size` the caller has set.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_status(struct NrdAgent *agent, struct NrdStatus *status);

// Begins an activation: exchange requests until the state is active.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_start_activation(struct NrdAgent *agent);

// Gives up an activation that is under way.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_cancel_activation(struct NrdAgent *agent);

// Signs out: the session and all personal data die at once.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_sign_out(struct NrdAgent *agent);

// Deactivates at the device, in every state and with no network. Then step.
// Call it only for keys of a physical or paired remote, held to confirm.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_deactivate(struct NrdAgent *agent);

// The network is there again: a wait after a failed exchange is over. One that
// the service asked for is not. Then poll.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_network_up(struct NrdAgent *agent);

// Somebody asks to try again now: no wait of any kind goes on, of the
// conversation or of work that failed. For a button, not for a loop. Then poll.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_try_again(struct NrdAgent *agent);

// Writes to `*unix_s` the newest wall time that the service's keys signed, or
// the hardware's own where it is no older, in Unix seconds; 0 when neither is
// known. What a certificate's end is held against on a device without a clock.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_signed_time(struct NrdAgent *agent, uint64_t *unix_s);

// Feeds one key of the remote (`NRD_KEY_…`); writes 1 to `*menu` when it
// completes the sequence that opens the deactivation menu, else 0.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_key(struct NrdAgent *agent, uint8_t key, uint8_t *menu);

// Runs every check of the conformance suite on a port, before an agent is
// first started on it: it destroys what is on the flash and uses up three
// counter steps. `NRD_E_CONFORMANCE` when a promise is broken; the text, at
// most `text_len` bytes with its NUL, says which.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_conformance(const struct NrdPlatform *platform, char *text, size_t text_len);

// Stores a value under `class_number` (`NRD_CLASS_…`) and `id`. `NRD_OK`
// means sealed, on flash, and read back.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_put(struct NrdAgent *agent,
                      uint8_t class_number,
                      uint16_t id,
                      const uint8_t *value,
                      size_t value_len);

// Reads a value into `out` and its length into `*out_len`.
// `NRD_E_NOT_FOUND` when there is none, or its retention has run out.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_get(struct NrdAgent *agent,
                      uint8_t class_number,
                      uint16_t id,
                      uint8_t *out,
                      size_t out_size,
                      size_t *out_len);

// Removes a value: it is never served again.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_remove(struct NrdAgent *agent, uint8_t class_number, uint16_t id);

// Destroys every value of a class at once, by destroying its key.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_forget(struct NrdAgent *agent, uint8_t class_number);

// The account holder's name for "Welcome back, …", UTF-8 without a NUL; at
// most 32 bytes.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_display_name(struct NrdAgent *agent,
                               uint8_t *out,
                               size_t out_size,
                               size_t *out_len);

// Writes to `*ms` the milliseconds until the next request is due: 0 for now,
// `UINT64_MAX` when there is nothing to say. The layer below `nrd_agent_poll`.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_next_due_ms(struct NrdAgent *agent, uint64_t *ms);

// Writes the next request into `out` (`NRD_MAX_FRAME` bytes are always
// enough) and its length to `*out_len`; 0 when none is due. Post it, then call
// `nrd_agent_handle_reply` or `nrd_agent_exchange_failed`. After an error the
// agent backs off. The layer below `nrd_agent_poll`.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_poll_request(struct NrdAgent *agent,
                               uint8_t *out,
                               size_t out_size,
                               size_t *out_len);

// Takes the reply to the request last polled. After an error nothing changed,
// and the agent backs off.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_handle_reply(struct NrdAgent *agent, const uint8_t *reply, size_t reply_len);

// The exchange failed on its way: the agent backs off.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_exchange_failed(struct NrdAgent *agent);

// Applies a signed order, however it came. Writes an `NRD_ORDER_…` to
// `*result`, the signed outcome into `out` (at least 192 bytes) and its length
// to `*out_len`. An order that does not verify is an error and changes
// nothing. Applied means durable.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_apply_order(struct NrdAgent *agent,
                              const uint8_t *order,
                              size_t order_len,
                              uint8_t *result,
                              uint8_t *out,
                              size_t out_size,
                              size_t *out_len);

// The newest wipe receipt that is not yet delivered, signed.
// `NRD_E_NOT_FOUND` when all are.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_newest_receipt(struct NrdAgent *agent,
                                 uint8_t *out,
                                 size_t out_size,
                                 size_t *out_len);

// Writes 1 to `*clean` when the device is clean and its slots and vault read
// blank now. Reads the whole vault.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_is_clean(struct NrdAgent *agent, uint8_t *clean);

// A signed answer to a returns desk's nonce (32 bytes), after reading the
// flash again. `NRD_E_WRONG_STATE` unless the device is clean or a wipe failed.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_prove_clean(struct NrdAgent *agent,
                              const uint8_t *nonce,
                              uint8_t *out,
                              size_t out_size,
                              size_t *out_len);

// A returns desk's storage check, over any cable: takes the desk's next message,
// without the two bytes of its length; `message_len` 0 to go on. Writes what the
// device answers into `out` (`NRD_MAX_MESSAGE` bytes are always enough) and its
// length to `*out_len`: send its length, 2 bytes, the lowest first, then the
// answer, and call again with `message_len` 0. `NRD_OK` with a length of 0: wait
// for the desk's next message. `NRD_E_BUSY`: call `nrd_agent_poll`, then this again
// with `message_len` 0.
//
// ```c
// int32_t r = nrd_agent_storage_check(agent, in, in_len, out, sizeof out, &n);
// while (r == NRD_E_BUSY || n > 0) {
//   if (n > 0) send_message(out, n); else poll_the_agent();
//   r = nrd_agent_storage_check(agent, NULL, 0, out, sizeof out, &n);
// }
// ```
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_storage_check(struct NrdAgent *agent,
                                const uint8_t *message,
                                size_t message_len,
                                uint8_t *out,
                                size_t out_size,
                                size_t *out_len);

// The desk or its cable is gone: what a storage check has stored is erased, step by
// step. Does nothing where none is under way.
//
// # Safety
// `agent` is NULL or readable.
int32_t nrd_agent_end_storage_check(struct NrdAgent *agent);

// The meaning of a result, for a log: English, NUL-terminated, never freed. Holds
// no secret.
const char *nrd_error_text(int32_t result);

// Makes a client, which `nrd_https_free` frees.
//
// Errors: `NRD_E_NULL`, `NRD_E_VERSION`, `NRD_E_ARGUMENT` (`exchange_ms` is 0),
// `NRD_E_TLS_ROOT`, `NRD_E_TLS_AUTHORITY`.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_https_new(const struct NrdHttpsConfig *config, struct NrdHttps **https);

// Forgets the TLS session that the next connection would resume. The exchange
// that begins a wipe does it; call it after every other call that begins one
// (`nrd_agent_deactivate`, `nrd_agent_apply_order`), and before a power-down
// that keeps memory.
//
// # Safety
// `https` is NULL or came from `nrd_https_new` and was not freed.
int32_t nrd_https_forget_session(const struct NrdHttps *https);

// Frees a client; NULL is fine.
//
// # Safety
// `https` came from `nrd_https_new`, was not freed, and is not in use.
void nrd_https_free(struct NrdHttps *https);

// Posts a request that `nrd_agent_poll` asked to post (`NRD_NEXT_POST`) over a
// new connection, and hands the agent the reply, or the news that none came.
// Blocks while the link does, and for up to `NrdConfig.wait_s` seconds on top.
//
// An error says why there is no reply, or why the agent refused it. Nothing
// needs to be done about it: the agent has backed off, and nothing it keeps has
// changed. After an error of the arguments (`NRD_E_NULL` and below) nothing was
// posted, and the agent still waits for the reply.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_post(struct NrdAgent *agent,
                       const struct NrdHttps *https,
                       const struct NrdLink *link,
                       const uint8_t *request,
                       size_t request_len);

// One whole exchange, if one is due: request, connection, reply. Writes 1 to
// `*happened`, or 0 when there was nothing to say. Blocks while the link does,
// and for up to `NrdConfig.wait_s` seconds on top. After any failure the agent
// backs off, and nothing it keeps has changed. For hosts that step the agent
// themselves; with `nrd_agent_poll` it is `nrd_agent_post`.
//
// # Safety
// The pointers are NULL or valid.
int32_t nrd_agent_exchange(struct NrdAgent *agent,
                           const struct NrdHttps *https,
                           const struct NrdLink *link,
                           uint8_t *happened);

// Does for `NrdPlatform.derive`, from a root of 32 bytes: HKDF-SHA-256.
// `epoch` may be NULL. The caller refuses past epochs.
//
// # Safety
// The pointers are NULL or valid; `out` has 32 bytes.
int32_t nrd_soft_derive(const uint8_t *root,
                        const uint8_t *label,
                        uint32_t label_len,
                        const uint64_t *epoch,
                        uint8_t *out);

// The Ed25519 public key of a seed.
//
// # Safety
// The pointers are NULL or valid; both have 32 bytes.
int32_t nrd_soft_public_key(const uint8_t *seed, uint8_t *out);

// Does for `NrdPlatform.sign`, with a seed of 32 bytes.
//
// # Safety
// The pointers are NULL or valid; `out` has 64 bytes.
int32_t nrd_soft_sign(const uint8_t *seed,
                      const uint8_t *message,
                      uint32_t message_len,
                      uint8_t *out);

// The most bytes that HTTPS ever held at once, since the program began.
size_t nrd_heap_peak(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NRD_AGENT_H */
