//! HTTPS over the caller's byte stream.

use crate::border::{Outcome, Range, enter, input, number, put, refused, sized_struct};
use crate::platform::copy_string;
use crate::types::*;
use core::ffi::{c_char, c_void};
use embedded_io::{ErrorKind, ErrorType, Read, Write};
use nrd_agent::tls::{FixedTime, HttpsClient, TlsError};
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

/// Makes a client that trusts the certificate `root` (DER) alone and speaks to
/// `authority`: a name or address with its port, NUL-terminated, at most 255
/// bytes, such as `service.example:8443`. Certificates are judged at `unix_s`
/// (Unix seconds): the clock's time, or the firmware's build time where there
/// is none. Free it with `nrd_https_free`.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_https_new(
    root: *const u8,
    root_len: usize,
    authority: *const c_char,
    unix_s: u64,
    https: *mut *mut NrdHttps,
) -> i32 {
    let work = || -> Outcome {
        if authority.is_null() || https.is_null() {
            return Err(NRD_E_NULL);
        }
        let mut name = [0u8; 255];
        // SAFETY: passed on.
        let (root, n) = unsafe {
            (
                input(root, root_len)?,
                copy_string(authority.cast(), &mut name).ok_or(NRD_E_TLS_AUTHORITY)?,
            )
        };
        let name = core::str::from_utf8(name.get(..n).unwrap_or_default())
            .map_err(|_| NRD_E_TLS_AUTHORITY)?;
        let client = HttpsClient::new(root, name, Arc::new(FixedTime(unix_s))).map_err(failed)?;
        // SAFETY: passed on.
        unsafe { put(https, Box::into_raw(Box::new(NrdHttps { client }))) }
    };
    number(work())
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
        enter(agent, |call| {
            call.apart(&[Range::of(request, request_len)])?;
            let client = https.as_ref().ok_or(NRD_E_NULL)?;
            let mut wire = Wire::new(&sized_struct(link)?).ok_or(NRD_E_NULL)?;
            let request = input(request, request_len)?;
            let agent = &mut call.inner.agent;
            nrd_agent::tls::post(agent, &client.client, &mut wire, request).map_err(failed)
        })
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
        enter(agent, |call| {
            let client = https.as_ref().ok_or(NRD_E_NULL)?;
            let mut wire = Wire::new(&sized_struct(link)?).ok_or(NRD_E_NULL)?;
            put(happened, 0)?;
            let agent = &mut call.inner.agent;
            let did = nrd_agent::tls::exchange(agent, &client.client, &mut wire).map_err(failed)?;
            put(happened, u8::from(did))
        })
    }
}
