//! The little of HTTP/1.1 that is spoken: one POST, one answer, then close.

use super::TlsError;
use crate::wire::MAX_FRAME;
use alloc::format;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Largest status line and header section, in bytes.
const MAX_HEAD: usize = 2048;
/// Most header fields.
const MAX_FIELDS: usize = 32;
/// The media type of frames.
const MEDIA_TYPE: &str = "application/octet-stream";

/// The request's bytes.
pub(super) fn request(authority: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {MEDIA_TYPE}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// Takes a whole answer in pieces of `piece` bytes and copies its body: what a
/// fuzzer calls.
#[doc(hidden)]
pub fn read_answer(answer: &[u8], piece: usize, out: &mut [u8]) -> Result<usize, TlsError> {
    let mut response = Response::new(out.len());
    for bytes in answer.chunks(piece.max(1)) {
        response.push(bytes)?;
        if response.is_complete() {
            break;
        }
    }
    if response.is_complete() {
        response.copy_body(out)
    } else {
        Err(TlsError::Closed)
    }
}

/// The answer so far. Bounded; zeroized when dropped, for it may hold a token.
pub(super) struct Response {
    bytes: Zeroizing<Vec<u8>>,
    /// Where the body begins, and its length.
    body: Option<(usize, usize)>,
    max_body: usize,
}

impl Response {
    pub(super) fn new(max_body: usize) -> Response {
        let max_body = max_body.min(MAX_FRAME);
        Response {
            // Never grows beyond this: a reallocation would leave a copy.
            bytes: Zeroizing::new(Vec::with_capacity(MAX_HEAD + max_body)),
            body: None,
            max_body,
        }
    }

    /// Takes more of the answer.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if self.bytes.len().saturating_add(bytes.len()) > MAX_HEAD + self.max_body {
            return Err(TlsError::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        if self.body.is_none() {
            self.body = head(&self.bytes, self.max_body)?;
            if self.body.is_none() && self.bytes.len() >= MAX_HEAD {
                return Err(TlsError::TooLarge);
            }
        }
        Ok(())
    }

    /// True when the whole answer is here.
    pub(super) fn is_complete(&self) -> bool {
        self.body
            .is_some_and(|(at, len)| self.bytes.len() >= at.saturating_add(len))
    }

    pub(super) fn copy_body(&self, out: &mut [u8]) -> Result<usize, TlsError> {
        let (at, len) = self.body.ok_or(TlsError::Closed)?;
        let body = self.bytes.get(at..).ok_or(TlsError::Closed)?;
        if body.len() > len {
            // Bytes after the announced length: a second answer, or smuggling.
            return Err(TlsError::Http);
        }
        let out = out.get_mut(..len).ok_or(TlsError::TooLarge)?;
        out.copy_from_slice(body.get(..len).ok_or(TlsError::Closed)?);
        Ok(len)
    }
}

/// Where the body begins, and its length; `None` while the head is incomplete.
fn head(bytes: &[u8], max_body: usize) -> Result<Option<(usize, usize)>, TlsError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let at = match response.parse(bytes) {
        Ok(httparse::Status::Complete(at)) => at,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(TlsError::Http),
    };
    match response.code {
        Some(200) => {}
        Some(status) => return Err(TlsError::Status(status)),
        None => return Err(TlsError::Http),
    }
    let field = |name: &str| {
        let mut found = response
            .headers
            .iter()
            .filter(|h| h.name.eq_ignore_ascii_case(name))
            .map(|h| h.value);
        match (found.next(), found.next()) {
            (value, None) => Ok(value),
            // Two of a kind: which one counts is how smuggling begins.
            _ => Err(TlsError::Http),
        }
    };
    if field("transfer-encoding")?.is_some() || field("content-encoding")?.is_some() {
        return Err(TlsError::Http);
    }
    if field("content-type")? != Some(MEDIA_TYPE.as_bytes()) {
        return Err(TlsError::Http);
    }
    let length = field("content-length")?.ok_or(TlsError::Http)?;
    let digits = !length.is_empty() && length.len() <= 6 && length.iter().all(u8::is_ascii_digit);
    let length = core::str::from_utf8(length)
        .ok()
        .filter(|_| digits)
        .and_then(|l| l.parse::<usize>().ok())
        .ok_or(TlsError::Http)?;
    if length > max_body {
        return Err(TlsError::TooLarge);
    }
    Ok(Some((at, length)))
}
