//! The types of the C interface: numbers, structures, callbacks.

use core::ffi::{c_char, c_void};

/// The version of this interface. `NrdPlatform.abi` carries the header's; the
/// library refuses another one (`NRD_E_VERSION`).
pub const NRD_ABI_VERSION: u32 = 3;

/// The agent, in memory that the caller lent.
pub struct NrdAgent {
    _opaque: [u8; 0],
}

// Results. Negative numbers are errors and never change their meaning.

/// Done.
pub const NRD_OK: i32 = 0;
/// Step the agent until it is idle, then try again.
pub const NRD_E_BUSY: i32 = -1;
/// The device's state does not allow this.
pub const NRD_E_WRONG_STATE: i32 = -2;
/// No such record.
pub const NRD_E_NOT_FOUND: i32 = -3;
/// The record does not authenticate; write or remove it.
pub const NRD_E_CORRUPT: i32 = -4;
/// The cache is full: remove something first.
pub const NRD_E_FULL: i32 = -5;
/// The value is longer than a record can hold.
pub const NRD_E_TOO_LONG: i32 = -6;
/// The buffer is too short.
pub const NRD_E_BUFFER_TOO_SMALL: i32 = -7;
/// The flash is worn out.
pub const NRD_E_WORN_OUT: i32 = -8;
/// A callback reported a failure; try again.
pub const NRD_E_HARDWARE: i32 = -9;
/// The random generator fails its health test.
pub const NRD_E_RANDOM: i32 = -10;
/// The cipher refused.
pub const NRD_E_CRYPTO: i32 = -11;
/// A frame was refused; nothing changed.
pub const NRD_E_FRAME: i32 = -12;
/// A frame is for another device, activation or request.
pub const NRD_E_NOT_FOR_US: i32 = -13;
/// The device key could not sign; try again.
pub const NRD_E_SIGNING: i32 = -14;
/// The bytes are too short for a frame, or one of another type.
pub const NRD_E_FRAME_TYPE: i32 = -15;
/// The frame's signature does not verify under the expected key.
pub const NRD_E_SIGNATURE: i32 = -16;
/// The order is signed by an order key that is not in force here; the service
/// signs it anew. It was not verified, so nothing answers it.
pub const NRD_E_KEY_RETIRED: i32 = -17;

// C's numbers are the agent's own, negative: logs of both sides say the same.
const _: () = {
    use nrd_agent::Error::*;
    let mut errors: &[nrd_agent::Error] = &[
        Busy,
        WrongState,
        NotFound,
        Corrupt,
        Full,
        TooLong,
        BufferTooSmall,
        WornOut,
        Hardware,
        RandomGenerator,
        Crypto,
        Malformed,
        NotForUs,
        Signing,
        WrongType,
        BadSignature,
        KeyRetired,
    ];
    while let [e, rest @ ..] = errors {
        assert!(crate::ffi::refused(*e) == -(e.code() as i32));
        errors = rest;
    }
};

/// The pinned root is no certificate.
pub const NRD_E_TLS_ROOT: i32 = -101;
/// The service's name is neither a DNS name nor an address.
pub const NRD_E_TLS_AUTHORITY: i32 = -102;
/// No connection.
pub const NRD_E_TLS_CONNECT: i32 = -103;
/// The connection broke or timed out.
pub const NRD_E_TLS_IO: i32 = -104;
/// The service's certificate was not issued by the pinned root.
pub const NRD_E_TLS_UNKNOWN_ISSUER: i32 = -105;
/// The service's certificate is not valid now: check the clock.
pub const NRD_E_TLS_EXPIRED: i32 = -106;
/// The service's certificate is for another name.
pub const NRD_E_TLS_WRONG_NAME: i32 = -107;
/// The service's certificate was refused for another reason.
pub const NRD_E_TLS_CERTIFICATE: i32 = -108;
/// The peer speaks no TLS 1.3.
pub const NRD_E_TLS_VERSION: i32 = -109;
/// The peer broke the TLS protocol.
pub const NRD_E_TLS_PROTOCOL: i32 = -110;
/// The peer closed before its answer was complete.
pub const NRD_E_TLS_CLOSED: i32 = -111;
/// The answer is not the HTTP that was agreed.
pub const NRD_E_TLS_HTTP: i32 = -112;
/// The service answered with an HTTP status other than 200.
pub const NRD_E_TLS_STATUS: i32 = -113;
/// The answer is larger than any reply may be.
pub const NRD_E_TLS_TOO_LARGE: i32 = -114;
/// The answer's status line and fields are longer than 8192 bytes.
pub const NRD_E_TLS_HEAD: i32 = -115;
/// The answer's transfer or content coding is none that is understood.
pub const NRD_E_TLS_ENCODING: i32 = -116;
/// The exchange took longer than `NrdHttpsConfig.exchange_ms`.
pub const NRD_E_TLS_DEADLINE: i32 = -117;

#[cfg(feature = "tls")]
const _: () = {
    use nrd_agent::tls::TlsError;
    const fn is(code: i32, e: TlsError) {
        assert!(
            code == -(e.code() as i32),
            "C's number of a TLS error is the agent's own"
        );
    }
    is(NRD_E_TLS_ROOT, TlsError::Root);
    is(NRD_E_TLS_AUTHORITY, TlsError::Authority);
    is(NRD_E_TLS_CONNECT, TlsError::Connect);
    is(NRD_E_TLS_IO, TlsError::Io);
    is(NRD_E_TLS_UNKNOWN_ISSUER, TlsError::UnknownIssuer);
    is(NRD_E_TLS_EXPIRED, TlsError::Expired);
    is(NRD_E_TLS_WRONG_NAME, TlsError::WrongName);
    is(NRD_E_TLS_CERTIFICATE, TlsError::Certificate);
    is(NRD_E_TLS_VERSION, TlsError::Version);
    is(NRD_E_TLS_PROTOCOL, TlsError::Protocol);
    is(NRD_E_TLS_CLOSED, TlsError::Closed);
    is(NRD_E_TLS_HTTP, TlsError::Http);
    is(NRD_E_TLS_STATUS, TlsError::Status(0));
    is(NRD_E_TLS_TOO_LARGE, TlsError::TooLarge);
    is(NRD_E_TLS_HEAD, TlsError::HeadTooLarge);
    is(NRD_E_TLS_ENCODING, TlsError::Encoding);
    is(NRD_E_TLS_DEADLINE, TlsError::Deadline);
    assert!(nrd_agent::tls::MAX_HEAD == 8192, "the header says so");
};

/// A pointer that must not be NULL is NULL, or a callback is missing.
pub const NRD_E_NULL: i32 = -201;
/// This is no agent, or it was closed.
pub const NRD_E_HANDLE: i32 = -202;
/// Header and library are of different versions: rebuild one of them.
pub const NRD_E_VERSION: i32 = -203;
/// Two buffers overlap, or one lies in the agent's own memory.
pub const NRD_E_OVERLAP: i32 = -204;
/// The agent is already in a call: from a callback, or on another thread. If a
/// callback left that call by a jump, see `nrd_agent_abandon`.
pub const NRD_E_REENTERED: i32 = -205;
/// An argument is out of its range.
pub const NRD_E_ARGUMENT: i32 = -206;
/// The lent memory is too small or not aligned to 16 bytes.
pub const NRD_E_MEMORY: i32 = -207;
/// The flash's sizes cannot hold two key slots, a journal and a vault.
pub const NRD_E_FLASH: i32 = -208;
/// The device id is not 1 to 32 bytes of printable ASCII.
pub const NRD_E_DEVICE_ID: i32 = -209;
/// The port breaks a promise; the text says which.
pub const NRD_E_CONFORMANCE: i32 = -210;
/// A call of this agent was left by a jump: end it with `nrd_agent_close`.
pub const NRD_E_ABANDONED: i32 = -211;

// What a callback answers when it fails: any number but 0. These say more.

/// The range lies outside the part.
pub const NRD_P_OUT_OF_BOUNDS: i32 = 1;
/// Offset or length does not fit the part's units.
pub const NRD_P_NOT_ALIGNED: i32 = 2;
/// Bits that the part's error correction could not mend.
pub const NRD_P_ECC: i32 = 3;
/// The part's own failure flag.
pub const NRD_P_OPERATION_FAILED: i32 = 4;
/// No write cycles left.
pub const NRD_P_WORN_OUT: i32 = 5;
/// Refused on principle, such as a root key asked for a past epoch.
pub const NRD_P_REFUSED: i32 = 6;
/// No answer now; try later.
pub const NRD_P_UNAVAILABLE: i32 = 7;

// States, in `NrdStatus.state`.

/// Not yet known: step the agent.
pub const NRD_STATE_BOOTING: u8 = 0;
/// No account, no secret.
pub const NRD_STATE_CLEAN: u8 = 1;
/// A code is shown, or about to be.
pub const NRD_STATE_ACTIVATING: u8 = 2;
/// An account holder is remembered.
pub const NRD_STATE_ACTIVE: u8 = 3;
/// Access is closed; `lock_reason` says why.
pub const NRD_STATE_LOCKED: u8 = 4;
/// Signed out; still on the account's list.
pub const NRD_STATE_SIGNED_OUT: u8 = 5;
/// A wipe is under way.
pub const NRD_STATE_WIPING: u8 = 6;
/// A wipe ended, but some part would not erase.
pub const NRD_STATE_WIPE_FAILED: u8 = 7;
/// No account, no secret; a storage check fills the vault, or erases it again.
pub const NRD_STATE_FILLING: u8 = 8;

// Reasons, in `NrdStatus.lock_reason`.

/// Not locked.
pub const NRD_LOCK_NONE: u8 = 0;
/// The lease ran out; a check-in opens it again.
pub const NRD_LOCK_LEASE_EXPIRED: u8 = 1;
/// The service revoked this activation.
pub const NRD_LOCK_REVOKED: u8 = 2;
/// A newer policy asks for consent on the account page.
pub const NRD_LOCK_CONSENT_DUE: u8 = 3;
/// A retired token was used somewhere.
pub const NRD_LOCK_THEFT_SUSPECTED: u8 = 4;
/// The journal is unreadable; only a wipe helps.
pub const NRD_LOCK_JOURNAL_LOST: u8 = 5;
/// The session record or the key slot is unreadable: sign in again, with
/// `nrd_agent_start_activation`. No wipe is needed, and none happens.
pub const NRD_LOCK_SESSION_LOST: u8 = 6;
/// The journal takes no writes. Access opens again as soon as it does.
pub const NRD_LOCK_NOT_STORED: u8 = 7;
/// A part that the boot needs does not answer. It is asked again.
pub const NRD_LOCK_NOT_ANSWERING: u8 = 8;

// What could not be read and is not yet replaced: bits of `NrdStatus.losses`.

/// The session: the account holder signs in again.
pub const NRD_LOST_SESSION: u8 = 1;
/// An undelivered receipt. The next receipt counts it as dropped.
pub const NRD_LOST_RECEIPT: u8 = 2;
/// The service's keys. They are asked for again.
pub const NRD_LOST_DELEGATION: u8 = 4;
/// The snapshot: the device is locked until a person wipes it.
pub const NRD_LOST_SNAPSHOT: u8 = 8;

// Results of a step.

/// Nothing to do until time passes, a call or a reply.
pub const NRD_STEP_IDLE: u8 = 0;
/// Did one bounded piece of work: call again.
pub const NRD_STEP_WORKING: u8 = 1;
/// A wipe ended: restart the platform now if you can.
pub const NRD_STEP_RESET_ADVISED: u8 = 2;

// What a host does next, in `NrdNext.what`.

/// There may be more work: call `nrd_agent_poll` again now.
pub const NRD_NEXT_AGAIN: u8 = 0;
/// Post the first `request_len` bytes of the request buffer to the service.
/// Then call `nrd_agent_handle_reply` with the reply's body, or
/// `nrd_agent_exchange_failed` when none came; `nrd_agent_post` does both.
pub const NRD_NEXT_POST: u8 = 1;
/// Nothing to do until the platform's uptime has reached `until_ms`, or until
/// a call: poll again after every call. Too early does no harm.
pub const NRD_NEXT_WAIT: u8 = 2;
/// A wipe ended: restart the platform now if you can; otherwise poll again.
pub const NRD_NEXT_RESET: u8 = 3;

// Data classes.

/// Name and nickname.
pub const NRD_CLASS_NAME: u8 = 1;
/// Postal address.
pub const NRD_CLASS_POSTAL_ADDRESS: u8 = 2;
/// E-mail address.
pub const NRD_CLASS_EMAIL: u8 = 3;
/// Payment method.
pub const NRD_CLASS_PAYMENT: u8 = 4;
/// Telephone number.
pub const NRD_CLASS_TELEPHONE: u8 = 5;
/// Profiles.
pub const NRD_CLASS_PROFILES: u8 = 6;
/// Activity.
pub const NRD_CLASS_ACTIVITY: u8 = 7;

// Each class has a name in C, the session's apart, which is not for callers.
const _: () = {
    use nrd_agent::Class;
    let mut classes = Class::ALL;
    while let [class, rest @ ..] = classes {
        let number = match class {
            Class::Session => 0,
            Class::Name => NRD_CLASS_NAME,
            Class::PostalAddress => NRD_CLASS_POSTAL_ADDRESS,
            Class::Email => NRD_CLASS_EMAIL,
            Class::Payment => NRD_CLASS_PAYMENT,
            Class::Telephone => NRD_CLASS_TELEPHONE,
            Class::Profiles => NRD_CLASS_PROFILES,
            Class::Activity => NRD_CLASS_ACTIVITY,
        };
        assert!(
            *class as u8 == number,
            "C's number of a class is the agent's own"
        );
        classes = rest;
    }
};

// Keys of the remote.

/// ↑
pub const NRD_KEY_UP: u8 = 0;
/// ↓
pub const NRD_KEY_DOWN: u8 = 1;
/// ←
pub const NRD_KEY_LEFT: u8 = 2;
/// →
pub const NRD_KEY_RIGHT: u8 = 3;
/// Any other key.
pub const NRD_KEY_OTHER: u8 = 4;

// Outcomes of an order.

/// Applied, and durable.
pub const NRD_ORDER_APPLIED: u8 = 0;
/// It had been applied before.
pub const NRD_ORDER_ALREADY_APPLIED: u8 = 1;
/// It does not apply to this state.
pub const NRD_ORDER_NOT_APPLICABLE: u8 = 2;
/// A later order came first, or it is of a past epoch.
pub const NRD_ORDER_STALE: u8 = 3;

/// Bytes that the longest request, reply, receipt or proof needs.
pub const NRD_MAX_FRAME: usize = 1536;
/// Bytes of the longest message of a storage check, without its length.
pub const NRD_MAX_MESSAGE: usize = 643;

/// Sizes of the flash, in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct NrdGeometry {
    /// Total size.
    pub size: u32,
    /// Smallest programmable unit, 1 to 256, a power of two.
    pub write_size: u32,
    /// Smallest erasable unit, 256 to 65536, a power of two.
    pub erase_size: u32,
    /// The most efficient erase unit; `erase_size` if unknown.
    pub best_erase: u32,
    /// 1 when a programmed unit may be programmed again to clear more bits.
    pub can_overwrite: u8,
}

/// Reads `len` bytes at `offset`.
pub type NrdRead = Option<extern "C" fn(*mut c_void, u32, *mut u8, u32) -> i32>;
/// Programs `len` bytes at `offset`.
pub type NrdProgram = Option<extern "C" fn(*mut c_void, u32, *const u8, u32) -> i32>;
/// Erases `from` to `to`.
pub type NrdErase = Option<extern "C" fn(*mut c_void, u32, u32) -> i32>;
/// Reads `len` bytes from the start of slot 0 or 1.
pub type NrdSlotRead = Option<extern "C" fn(*mut c_void, u8, *mut u8, u32) -> i32>;
/// Writes `len` bytes (at most 256) at the start of an erased slot.
pub type NrdSlotWrite = Option<extern "C" fn(*mut c_void, u8, *const u8, u32) -> i32>;
/// Erases a slot: it reads 0xFF afterwards.
pub type NrdSlotErase = Option<extern "C" fn(*mut c_void, u8) -> i32>;
/// The counter's value.
pub type NrdCounterRead = Option<extern "C" fn(*mut c_void, *mut u64) -> i32>;
/// Raises the counter by one.
pub type NrdCounterIncrement = Option<extern "C" fn(*mut c_void) -> i32>;
/// Derives 32 bytes from the root and a label. `epoch` is NULL for a key that
/// outlives wipes; otherwise the key is bound to `*epoch` as well.
pub type NrdDerive = Option<extern "C" fn(*mut c_void, *const u8, u32, *const u64, *mut u8) -> i32>;
/// Fills `len` bytes from the hardware's random generator.
pub type NrdRandom = Option<extern "C" fn(*mut c_void, *mut u8, u32) -> i32>;
/// Signs `len` bytes with the device's Ed25519 key, into 64 bytes.
pub type NrdSign = Option<extern "C" fn(*mut c_void, *const u8, u32, *mut u8) -> i32>;
/// Milliseconds since this boot.
pub type NrdUptime = Option<extern "C" fn(*mut c_void) -> u64>;
/// Unix seconds; 0 when the hardware has no clock or it is not set.
pub type NrdWall = Option<extern "C" fn(*mut c_void) -> u64>;

/// The port: what the agent calls. Copied by `nrd_agent_init`; `context` and
/// the functions must stay valid until `nrd_agent_close`. No callback may call
/// the agent. Each answers 0, or a number that says why not (`NRD_P_…`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NrdPlatform {
    /// `sizeof(NrdPlatform)`.
    pub size: u32,
    /// `NRD_ABI_VERSION`.
    pub abi: u32,
    /// Handed to every callback.
    pub context: *mut c_void,
    /// The flash's sizes. The agent lays it out itself: two key slots,
    /// journal, vault.
    pub flash: NrdGeometry,
    /// Required.
    pub flash_read: NrdRead,
    /// Required.
    pub flash_program: NrdProgram,
    /// Required.
    pub flash_erase: NrdErase,
    /// NULL when the key slots lie on the flash; otherwise all three are set.
    pub slot_read: NrdSlotRead,
    /// See `slot_read`.
    pub slot_write: NrdSlotWrite,
    /// See `slot_read`.
    pub slot_erase: NrdSlotErase,
    /// 1 when erasing a slot only hides the old bytes (a flash translation
    /// layer beneath, as in eMMC): the receipt then claims no more.
    pub slots_logical_only: u8,
    /// Required.
    pub counter_read: NrdCounterRead,
    /// Required.
    pub counter_increment: NrdCounterIncrement,
    /// Increments that the counter is rated for.
    pub counter_endurance: u64,
    /// Required.
    pub derive: NrdDerive,
    /// 1 when the part itself refuses epochs below the counter.
    pub refuses_past_epochs: u8,
    /// Required.
    pub random: NrdRandom,
    /// Required.
    pub sign: NrdSign,
    /// Required.
    pub uptime_ms: NrdUptime,
    /// NULL when the hardware has no battery-backed clock.
    pub wall_s: NrdWall,
    /// 1 to 32 printable ASCII characters, NUL-terminated. Copied.
    pub device_id: *const c_char,
    /// The device's Ed25519 public key, 32 bytes. Copied.
    pub public_key: *const u8,
    /// The maker certificate. Copied.
    pub certificate: *const u8,
    /// Its length, at most 256 bytes.
    pub certificate_len: u32,
}

/// Settings that a product fixes in its firmware.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NrdConfig {
    /// `sizeof(NrdConfig)`.
    pub size: u32,
    /// The service's root public key (Ed25519), pinned by the firmware.
    pub service_root: [u8; 32],
    /// The counter's value as the device left the factory.
    pub factory_epoch: u64,
    /// Seconds a check-in may wait for an order; 0 for firmware that keeps no
    /// connection open.
    pub wait_s: u16,
    /// Most records that the product caches.
    pub max_records: u16,
    /// The longest value it caches, in bytes.
    pub max_value: u16,
    /// Version of `service_root`; 0 for a service's first root.
    pub root_version: u32,
}

/// The device's state, for its screen.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct NrdStatus {
    /// `sizeof(NrdStatus)`, set by the caller.
    pub size: u32,
    /// `NRD_STATE_…`
    pub state: u8,
    /// `NRD_LOCK_…`
    pub lock_reason: u8,
    /// 1 when access is open.
    pub open: u8,
    /// 1 when the counter is worn out: the device will not activate again.
    pub worn_out: u8,
    /// Receipts not yet delivered.
    pub receipts: u8,
    /// The pictogram to show beside the code, 0 to 15.
    pub pictogram: u8,
    /// The code to show while activating, NUL-terminated; empty for none.
    pub code: [c_char; 13],
    /// Sectors wiped so far.
    pub wipe_done: u32,
    /// Sectors to wipe in all; 0 when no wipe is under way.
    pub wipe_total: u32,
    /// Powered seconds until access closes.
    pub left_s: u64,
    /// Powered seconds until the device wipes itself; `UINT64_MAX` for never.
    pub dead_man_s: u64,
    /// The policy version consented to; 0 for none.
    pub policy: u32,
    /// The token's generation; goes up with each renewal. 0 without a session.
    pub generation: u32,
    /// Bytes of a storage check stored, read back and erased so far.
    pub proof_done: u32,
    /// Bytes of it in all; 0 when none is under way.
    pub proof_total: u32,
    /// What failed last in `nrd_agent_poll` and has not succeeded since:
    /// `NRD_OK`, or an `NRD_E_…`. The agent tries again by itself.
    pub fault: i32,
    /// `NRD_LOST_…`, added up. The service is told too.
    pub losses: u8,
}

/// What a host does next: `nrd_agent_poll` fills it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct NrdNext {
    /// `sizeof(NrdNext)`, set by the caller.
    pub size: u32,
    /// `NRD_NEXT_…`
    pub what: u8,
    /// `NRD_NEXT_POST`: the request's length, in bytes. Otherwise 0.
    pub request_len: u32,
    /// `NRD_NEXT_WAIT`: the uptime to sleep until, in milliseconds as
    /// `NrdPlatform.uptime_ms` counts them; `UINT64_MAX` for as long as nobody
    /// calls. Otherwise 0.
    pub until_ms: u64,
}
