//! HTTPS over the caller's byte stream.

use crate::ffi::{Outcome, Range, enter, input, number, put, refused, sized_struct};
use crate::platform::copy_string;
use crate::types::*;
use core::ffi::{c_char, c_void};
use embedded_io::{ErrorKind, ErrorType, Read, Write};
use nrd_agent::tls::{AgentTime, CertificateTime, HttpsClient, HttpsConfig, KnownTime, TlsError};
use nrd_hal::Link;

extern crate alloc;
use alloc::boxed::Box;
use alloc::sync::Arc;

/// A client that trusts one private root.
pub struct NrdHttps {
    client: HttpsClient,
}

/// A byte stream to the service, such as a TCP socket. Copied by the call that
/// uses it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NrdLink {
    /// `sizeof(NrdLink)`.
    pub size: u32,
    /// Handed to every callback.
    pub context: *mut c_void,
    /// Connects, within the port's own time-out; 0 when connected.
    pub connect: Option<extern "C" fn(*mut c_void) -> i32>,
    /// Reads at most `len` bytes: how many, 0 at the end of the stream, or a
    /// negative number. Blocks for at most the port's own time-out, which must
    /// be longer than `NrdConfig.wait_s`.
    pub read: Option<extern "C" fn(*mut c_void, *mut u8, usize) -> isize>,
    /// Writes at most `len` bytes: how many, or a negative number.
    pub write: Option<extern "C" fn(*mut c_void, *const u8, usize) -> isize>,
    /// Closes; called once after each successful `connect`.
    pub close: Option<extern "C" fn(*mut c_void)>,
}

/// The link's callbacks, all there.
struct Wire {
    context: *mut c_void,
    connect: extern "C" fn(*mut c_void) -> i32,
    read: extern "C" fn(*mut c_void, *mut u8, usize) -> isize,
    write: extern "C" fn(*mut c_void, *const u8, usize) -> isize,
    close: extern "C" fn(*mut c_void),
}

impl Wire {
    fn new(link: &NrdLink) -> Option<Wire> {
        Some(Wire {
            context: link.context,
            connect: link.connect?,
            read: link.read?,
            write: link.write?,
            close: link.close?,
        })
    }
}

struct Stream<'w>(&'w Wire);

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        (self.0.close)(self.0.context);
    }
}

impl ErrorType for Stream<'_> {
    type Error = ErrorKind;
}

/// A callback that says it moved more than it was given is not believed.
fn moved(answer: isize, most: usize) -> Result<usize, ErrorKind> {
    match usize::try_from(answer) {
        Ok(n) if n <= most => Ok(n),
        _ => Err(ErrorKind::Other),
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let answer = (self.0.read)(self.0.context, out.as_mut_ptr(), out.len());
        moved(answer, out.len())
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let answer = (self.0.write)(self.0.context, bytes.as_ptr(), bytes.len());
        match moved(answer, bytes.len())? {
            0 => Err(ErrorKind::WriteZero),
            n => Ok(n),
        }
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl nrd_hal::ErrorType for Wire {
    type Error = nrd_hal::ErrorKind;
}

impl Link for Wire {
    type Stream<'a> = Stream<'a>;
    fn connect(&mut self) -> Result<Stream<'_>, nrd_hal::ErrorKind> {
        match (self.connect)(self.context) {
            0 => Ok(Stream(self)),
            _ => Err(nrd_hal::ErrorKind::Unavailable),
        }
    }
}

fn failed(e: TlsError) -> i32 {
    match e {
        TlsError::Agent(e) => refused(e),
        other => -i32::from(other.code()),
    }
}

/// Unix seconds of a clock that can be trusted; 0 when it is not set.
pub type NrdTime = Option<extern "C" fn(*mut c_void) -> u64>;

/// What a client trusts, and how long it waits. Copied by `nrd_https_new`;
/// `time` must stay valid until `nrd_https_free`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NrdHttpsConfig {
    /// `sizeof(NrdHttpsConfig)`.
    pub size: u32,
    /// Milliseconds that an exchange may take in all, longer than
    /// `NrdConfig.wait_s`. A call of `NrdLink` that blocks may add its own
    /// time-out.
    pub exchange_ms: u32,
    /// The pinned root, a certificate (DER).
    pub root: *const u8,
    /// Its length, in bytes.
    pub root_len: usize,
    /// The next root, while the service moves to it: either may have signed.
    /// NULL for none.
    pub next_root: *const u8,
    /// Its length, in bytes; 0 for none.
    pub next_root_len: usize,
    /// The service's name or address with its port, NUL-terminated, at most 255
    /// bytes, such as `service.example:8443`.
    pub authority: *const c_char,
    /// When the firmware was built, in Unix seconds; 0 for unknown.
    pub built_s: u64,
    /// Asked at every connection, when certificates are judged. NULL for what the
    /// agent knows: `NrdPlatform.wall_s`, or else the newest time that the
    /// service's keys signed. Where it answers 0 the agent's knowledge counts.
    pub time: NrdTime,
    /// Handed to `time`.
    pub time_context: *mut c_void,
}

/// The time that a firmware's callback says, or else the agent's.
struct CallerTime {
    agent: AgentTime,
    time: NrdTime,
    context: *mut c_void,
}

// SAFETY: the context is only handed to the callback, which the header asks to
// work on whichever thread makes an exchange.
unsafe impl Send for CallerTime {}
// SAFETY: as above.
unsafe impl Sync for CallerTime {}

impl CertificateTime for CallerTime {
    fn known_time(&self) -> KnownTime {
        match self.time.map_or(0, |time| time(self.context)) {
            0 => self.agent.known_time(),
            s => KnownTime::Clock(s),
        }
    }

    fn note(&self, agent: KnownTime) {
        self.agent.note(agent);
    }
}

/// Makes a client, which `nrd_https_free` frees.
///
/// Errors: `NRD_E_NULL`, `NRD_E_VERSION`, `NRD_E_ARGUMENT` (`exchange_ms` is 0),
/// `NRD_E_TLS_ROOT`, `NRD_E_TLS_AUTHORITY`.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_https_new(
    config: *const NrdHttpsConfig,
    https: *mut *mut NrdHttps,
) -> i32 {
    let work = || -> Outcome {
        // SAFETY: passed on.
        let config = unsafe { sized_struct(config)? };
        if config.authority.is_null() || https.is_null() {
            return Err(NRD_E_NULL);
        }
        if config.exchange_ms == 0 {
            return Err(NRD_E_ARGUMENT);
        }
        let mut name = [0u8; 255];
        // SAFETY: passed on.
        let (root, next_root, n) = unsafe {
            (
                input(config.root, config.root_len)?,
                input(config.next_root, config.next_root_len)?,
                copy_string(config.authority.cast(), &mut name).ok_or(NRD_E_TLS_AUTHORITY)?,
            )
        };
        let authority = core::str::from_utf8(name.get(..n).unwrap_or_default())
            .map_err(|_| NRD_E_TLS_AUTHORITY)?;
        let both = [root, next_root];
        let roots = match next_root {
            [] => both.get(..1).unwrap_or_default(),
            _ => &both,
        };
        let time = CallerTime {
            agent: AgentTime::new(config.built_s),
            time: config.time,
            context: config.time_context,
        };
        let client = HttpsClient::new(&HttpsConfig {
            roots,
            authority,
            time: Arc::new(time),
            exchange_ms: config.exchange_ms,
        })
        .map_err(failed)?;
        // SAFETY: passed on.
        unsafe { put(https, Box::into_raw(Box::new(NrdHttps { client }))) }
    };
    number(work())
}

/// Forgets the TLS session that the next connection would resume. The exchange
/// that begins a wipe does it; call it after every other call that begins one
/// (`nrd_agent_deactivate`, `nrd_agent_apply_order`), and before a power-down
/// that keeps memory.
///
/// # Safety
/// `https` is NULL or came from `nrd_https_new` and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_https_forget_session(https: *const NrdHttps) -> i32 {
    // SAFETY: passed on; only read.
    match unsafe { https.as_ref() } {
        Some(https) => {
            https.client.forget_session();
            NRD_OK
        }
        None => NRD_E_NULL,
    }
}

/// Frees a client; NULL is fine.
///
/// # Safety
/// `https` came from `nrd_https_new`, was not freed, and is not in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_https_free(https: *mut NrdHttps) {
    if !https.is_null() {
        // SAFETY: it was made by `Box::into_raw`, says the caller.
        drop(unsafe { Box::from_raw(https) });
    }
}

/// Posts a request that `nrd_agent_poll` asked to post (`NRD_NEXT_POST`) over a
/// new connection, and hands the agent the reply, or the news that none came.
/// Blocks while the link does, and for up to `NrdConfig.wait_s` seconds on top.
///
/// An error says why there is no reply, or why the agent refused it. Nothing
/// needs to be done about it: the agent has backed off, and nothing it keeps has
/// changed. After an error of the arguments (`NRD_E_NULL` and below) nothing was
/// posted, and the agent still waits for the reply.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_post(
    agent: *mut NrdAgent,
    https: *const NrdHttps,
    link: *const NrdLink,
    request: *const u8,
    request_len: usize,
) -> i32 {
    // SAFETY: passed on; `https` is only read, by any number of calls.
    unsafe {
        enter(
            agent,
            &[
                Range::of(https, 1),
                Range::of(link, size_of::<NrdLink>()),
                Range::of(request, request_len),
            ],
            |inner| {
                let client = https.as_ref().ok_or(NRD_E_NULL)?;
                let mut wire = Wire::new(&sized_struct(link)?).ok_or(NRD_E_NULL)?;
                let request = input(request, request_len)?;
                let agent = &mut inner.agent;
                nrd_agent::tls::post(agent, &client.client, &mut wire, request).map_err(failed)
            },
        )
    }
}

/// One whole exchange, if one is due: request, connection, reply. Writes 1 to
/// `*happened`, or 0 when there was nothing to say. Blocks while the link does,
/// and for up to `NrdConfig.wait_s` seconds on top. After any failure the agent
/// backs off, and nothing it keeps has changed. For hosts that step the agent
/// themselves; with `nrd_agent_poll` it is `nrd_agent_post`.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_exchange(
    agent: *mut NrdAgent,
    https: *const NrdHttps,
    link: *const NrdLink,
    happened: *mut u8,
) -> i32 {
    // SAFETY: passed on; `https` is only read, by any number of calls.
    unsafe {
        enter(
            agent,
            &[
                Range::of(https, 1),
                Range::of(link, size_of::<NrdLink>()),
                Range::of(happened, 1),
            ],
            |inner| {
                let client = https.as_ref().ok_or(NRD_E_NULL)?;
                let mut wire = Wire::new(&sized_struct(link)?).ok_or(NRD_E_NULL)?;
                put(happened, 0)?;
                let agent = &mut inner.agent;
                let did =
                    nrd_agent::tls::exchange(agent, &client.client, &mut wire).map_err(failed)?;
                put(happened, u8::from(did))
            },
        )
    }
}
