//! Words for the numbers.

use crate::types::*;
use core::ffi::{CStr, c_char};

/// The meaning of a result, for a log: English, NUL-terminated, never freed. Holds
/// no secret.
#[unsafe(no_mangle)]
pub extern "C" fn nrd_error_text(result: i32) -> *const c_char {
    words(result).as_ptr()
}

fn words(result: i32) -> &'static CStr {
    match result {
        NRD_OK => c"done",
        NRD_E_BUSY => c"busy: step the agent until it is idle, then try again",
        NRD_E_WRONG_STATE => c"the device's state does not allow this",
        NRD_E_NOT_FOUND => c"no such record",
        NRD_E_CORRUPT => c"the record does not authenticate: write or remove it",
        NRD_E_FULL => c"the cache is full: remove something first",
        NRD_E_TOO_LONG => c"longer than a record can hold, or than a frame of its type may be",
        NRD_E_BUFFER_TOO_SMALL => c"the buffer is too small",
        NRD_E_WORN_OUT => c"the flash is worn out",
        NRD_E_HARDWARE => c"a callback reported a failure: try again",
        NRD_E_RANDOM => c"the random generator fails its health test",
        NRD_E_CRYPTO => c"the cipher refused",
        NRD_E_FRAME => c"the frame's body is malformed",
        NRD_E_NOT_FOR_US => c"the frame is not for this device, activation or request",
        NRD_E_SIGNING => c"the device key could not sign: try again",
        NRD_E_FRAME_TYPE => c"the bytes are not a frame of the expected type",
        NRD_E_SIGNATURE => c"the frame's signature does not verify",
        NRD_E_KEY_RETIRED => c"the order is signed by an order key that is not in force",
        NRD_E_TLS_ROOT => c"the pinned root is no certificate",
        NRD_E_TLS_AUTHORITY => c"the service's name is neither a DNS name nor an address",
        NRD_E_TLS_CONNECT => c"no connection to the service",
        NRD_E_TLS_IO => c"the connection broke or timed out",
        NRD_E_TLS_UNKNOWN_ISSUER => c"the certificate was not issued by the pinned root",
        NRD_E_TLS_EXPIRED => c"the certificate is not valid now: check the clock",
        NRD_E_TLS_WRONG_NAME => c"the certificate is for another name",
        NRD_E_TLS_CERTIFICATE => c"the certificate is refused",
        NRD_E_TLS_VERSION => c"the service speaks no TLS 1.3",
        NRD_E_TLS_PROTOCOL => c"the service does not speak TLS properly",
        NRD_E_TLS_CLOSED => c"the service closed before its answer was complete",
        NRD_E_TLS_HTTP => c"the answer is not the HTTP that was agreed",
        NRD_E_TLS_STATUS => c"the service answered with an HTTP error",
        NRD_E_TLS_TOO_LARGE => c"the answer is too large",
        NRD_E_TLS_HEAD => c"the answer's head is too large: does a proxy add to it?",
        NRD_E_TLS_ENCODING => {
            c"the answer has a coding that was not agreed: does a proxy compress it?"
        }
        NRD_E_TLS_DEADLINE => c"the exchange took longer than it may",
        NRD_E_NULL => c"a pointer or a required callback is NULL",
        NRD_E_HANDLE => c"this is no agent, or it was closed",
        NRD_E_VERSION => c"header and library are of different versions: rebuild one of them",
        NRD_E_OVERLAP => c"buffers overlap each other or the agent's memory",
        NRD_E_REENTERED => c"the agent is already in a call",
        NRD_E_ARGUMENT => c"an argument is out of its range",
        NRD_E_MEMORY => c"the lent memory is too small or not aligned to 16 bytes",
        NRD_E_FLASH => c"the flash's sizes cannot hold two key slots, a journal and a vault",
        NRD_E_DEVICE_ID => c"the device id is not 1 to 32 printable ASCII characters",
        NRD_E_CONFORMANCE => c"the port breaks a promise",
        NRD_E_ABANDONED => c"a call was left by a jump: close the agent",
        _ => c"unknown number: library newer than its header?",
    }
}

/// A NUL-terminated text in a buffer; what does not fit is cut.
pub(crate) struct Cut<'b> {
    out: &'b mut [u8],
    at: usize,
}

impl Cut<'_> {
    /// `out` is all zeros.
    pub(crate) fn new(out: &mut [u8]) -> Cut<'_> {
        Cut { out, at: 0 }
    }
}

impl core::fmt::Write for Cut<'_> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        // The last place stays 0.
        let room = self.out.len().saturating_sub(1);
        for b in s.bytes() {
            match self.out.get_mut(..room).and_then(|o| o.get_mut(self.at)) {
                Some(slot) => *slot = b,
                None => return Ok(()),
            }
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_words() {
        let unknown = words(-9999);
        for code in (-17..=0).chain(-117..=-101).chain(-211..=-201) {
            assert_ne!(words(code), unknown, "{code}");
        }
    }
}
