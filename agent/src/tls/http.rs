//! The HTTP/1.1 that is spoken: one POST, one answer, then close (SPEC §10).
//!
//! An answer is read line by line, so that it means the same in whatever pieces
//! it comes, and so that a proxy may add any number of fields: what is bounded is
//! bytes, not fields. httparse judges each line.

use super::TlsError;
use crate::wire::MAX_FRAME;
use alloc::format;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Most bytes of an answer beside its body: every status line and field line,
/// those of interim answers too, and what chunked coding adds. An ordinary proxy
/// allows as much.
pub const MAX_HEAD: usize = 8192;
/// The media type of frames.
const MEDIA_TYPE: &str = "application/octet-stream";

const _: () = assert!(
    MAX_HEAD + MAX_FRAME < super::session::BUDGET,
    "the largest answer must fit into what one exchange may receive"
);

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

/// Takes a whole answer in pieces, after which the connection closes, and copies
/// its body: what a fuzzer calls.
#[doc(hidden)]
pub fn read_answer<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    out: &mut [u8],
) -> Result<usize, TlsError> {
    let mut response = Response::new(out.len());
    for piece in pieces {
        response.push(piece)?;
    }
    response.close();
    response.copy_body(out)
}

/// What the next bytes of an answer are.
#[derive(Clone, Copy)]
enum Part {
    /// A status line.
    Status,
    /// Fields of an interim answer, which is skipped.
    Interim,
    /// Fields of the answer itself.
    Fields(Head),
    /// So many bytes of the body.
    Body(usize),
    /// The body, until the connection closes.
    UntilClose,
    /// A chunk's size.
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(usize),
    /// The line's end after a chunk.
    ChunkEnd,
    /// Fields after the last chunk.
    Trailers,
    /// Nothing: the answer is complete.
    End,
}

/// The answer so far. Bounded; its body is zeroized when dropped, for it may hold
/// a token.
pub(super) struct Response {
    part: Part,
    /// The line that is not yet complete.
    line: Vec<u8>,
    /// Bytes of the head so far.
    head: usize,
    body: Zeroizing<Vec<u8>>,
    max_body: usize,
}

impl Response {
    pub(super) fn new(max_body: usize) -> Response {
        let max_body = max_body.min(MAX_FRAME);
        Response {
            part: Part::Status,
            line: Vec::new(),
            head: 0,
            // Never grows beyond this: a reallocation would leave a copy.
            body: Zeroizing::new(Vec::with_capacity(max_body)),
            max_body,
        }
    }

    /// Takes more of the answer.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            let taken = match self.part {
                // Bytes after the answer: a second one, or smuggling.
                Part::End => return Err(TlsError::Http),
                Part::Body(left) => {
                    let n = self.take(bytes, left)?;
                    self.part = body_part(left.saturating_sub(n));
                    n
                }
                Part::Chunk(left) => {
                    let n = self.take(bytes, left)?;
                    self.part = match left.saturating_sub(n) {
                        0 => Part::ChunkEnd,
                        left => Part::Chunk(left),
                    };
                    n
                }
                Part::UntilClose => self.take(bytes, usize::MAX)?,
                Part::Status
                | Part::Interim
                | Part::Fields(_)
                | Part::ChunkSize
                | Part::ChunkEnd
                | Part::Trailers => self.take_line(bytes)?,
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// The peer has said that it sends no more: that ends a body without a length.
    pub(super) fn close(&mut self) {
        if matches!(self.part, Part::UntilClose) {
            self.part = Part::End;
        }
    }

    /// True when the whole answer is here.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.part, Part::End)
    }

    /// Copies the body; its length.
    pub(super) fn copy_body(&self, out: &mut [u8]) -> Result<usize, TlsError> {
        if !self.is_complete() {
            return Err(TlsError::Closed);
        }
        let out = out.get_mut(..self.body.len()).ok_or(TlsError::TooLarge)?;
        out.copy_from_slice(&self.body);
        Ok(out.len())
    }

    /// Adds at most `most` bytes to the body; how many.
    fn take(&mut self, bytes: &[u8], most: usize) -> Result<usize, TlsError> {
        let piece = bytes.get(..most).unwrap_or(bytes);
        if self.body.len().saturating_add(piece.len()) > self.max_body {
            return Err(TlsError::TooLarge);
        }
        self.body.extend_from_slice(piece);
        Ok(piece.len())
    }

    /// Adds to the line, and reads it where it is complete; how many bytes.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        let end = bytes.iter().position(|&b| b == b'\n');
        let piece = end.and_then(|at| bytes.get(..=at)).unwrap_or(bytes);
        self.head = self.head.saturating_add(piece.len());
        if self.head > MAX_HEAD {
            return Err(TlsError::HeadTooLarge);
        }
        self.line.extend_from_slice(piece);
        if end.is_some() {
            // The end of a head that has nothing but this line, for httparse.
            self.line.extend_from_slice(b"\r\n");
            self.part = self.read_line()?;
            self.line.clear();
        }
        Ok(piece.len())
    }

    /// What follows the line.
    fn read_line(&self) -> Result<Part, TlsError> {
        let blank = matches!(self.line.as_slice(), b"\r\n\r\n" | b"\n\r\n");
        Ok(match self.part {
            Part::Status => status(&self.line)?,
            Part::Interim if blank => Part::Status,
            Part::Fields(head) if blank => head.body(self.max_body)?,
            Part::Trailers if blank => Part::End,
            Part::ChunkEnd if blank => Part::ChunkSize,
            Part::Fields(mut head) => {
                head.note(&field(&self.line)?)?;
                Part::Fields(head)
            }
            Part::ChunkSize => chunk(&self.line, self.max_body)?,
            // Skipped, but not if it is no field.
            Part::Interim | Part::Trailers => field(&self.line).map(|_| self.part)?,
            // These are no lines.
            Part::ChunkEnd | Part::Body(_) | Part::Chunk(_) | Part::UntilClose | Part::End => {
                return Err(TlsError::Http);
            }
        })
    }
}

fn body_part(length: usize) -> Part {
    match length {
        0 => Part::End,
        length => Part::Body(length),
    }
}

/// What follows a status line.
fn status(line: &[u8]) -> Result<Part, TlsError> {
    let mut response = httparse::Response::new(&mut []);
    match response.parse(line) {
        Ok(httparse::Status::Complete(n)) if n == line.len() => {}
        _ => return Err(TlsError::Http),
    }
    match response.code {
        // 101 would be another protocol, which nobody asked for.
        Some(100 | 102..=199) => Ok(Part::Interim),
        Some(200) => Ok(Part::Fields(Head {
            is_http_1_0: response.version == Some(0),
            ..Head::default()
        })),
        Some(status) => Err(TlsError::Status(status)),
        None => Err(TlsError::Http),
    }
}

/// The one field of a line.
fn field(line: &[u8]) -> Result<httparse::Header<'_>, TlsError> {
    let mut fields = [httparse::EMPTY_HEADER];
    match httparse::parse_headers(line, &mut fields) {
        Ok(httparse::Status::Complete((n, [field]))) if n == line.len() => Ok(*field),
        _ => Err(TlsError::Http),
    }
}

/// What follows a chunk's size.
fn chunk(line: &[u8], max_body: usize) -> Result<Part, TlsError> {
    // httparse reads a line without a digit as a size of 0, the end.
    if !line.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(TlsError::Http);
    }
    match httparse::parse_chunk_size(line) {
        Ok(httparse::Status::Complete((_, 0))) => Ok(Part::Trailers),
        Ok(httparse::Status::Complete((_, size))) => match usize::try_from(size) {
            Ok(size) if size <= max_body => Ok(Part::Chunk(size)),
            _ => Err(TlsError::TooLarge),
        },
        _ => Err(TlsError::Http),
    }
}

/// What the fields say about the body.
#[derive(Clone, Copy, Default)]
struct Head {
    is_http_1_0: bool,
    /// It has the media type of frames.
    is_frame: bool,
    /// `Content-Length`.
    length: Option<usize>,
    is_chunked: bool,
}

impl Head {
    /// Notes a field. Two of a kind are refused: which one counts is how
    /// smuggling begins (RFC 9112 §11.2).
    fn note(&mut self, field: &httparse::Header<'_>) -> Result<(), TlsError> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let value = field.value.trim_ascii();
        if is("content-type") {
            if self.is_frame || !is_media_type(value) {
                return Err(TlsError::Http);
            }
            self.is_frame = true;
        } else if is("content-length") {
            if self.length.is_some() {
                return Err(TlsError::Http);
            }
            self.length = Some(length(value)?);
        } else if is("transfer-encoding") {
            if self.is_chunked {
                return Err(TlsError::Http);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(TlsError::Encoding);
            }
            self.is_chunked = true;
        } else if is("content-encoding") && !value.eq_ignore_ascii_case(b"identity") {
            return Err(TlsError::Encoding);
        }
        Ok(())
    }

    /// What follows the fields (RFC 9112 §6.3).
    fn body(self, max_body: usize) -> Result<Part, TlsError> {
        if !self.is_frame {
            return Err(TlsError::Http);
        }
        match (self.is_chunked, self.length) {
            // Both, or chunks of HTTP/1.0: some proxy reads it in another way.
            (true, Some(_)) => Err(TlsError::Http),
            (true, None) if self.is_http_1_0 => Err(TlsError::Http),
            (true, None) => Ok(Part::ChunkSize),
            (false, None) => Ok(Part::UntilClose),
            (false, Some(length)) if length > max_body => Err(TlsError::TooLarge),
            (false, Some(length)) => Ok(body_part(length)),
        }
    }
}

/// True for the media type of frames, with any parameters (RFC 9110 §8.3.1).
fn is_media_type(value: &[u8]) -> bool {
    let name = value.split(|&b| b == b';').next().unwrap_or_default();
    name.trim_ascii()
        .eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
}

/// The number of a `Content-Length`: digits alone. More than an integer holds is
/// more than any body may be, and is refused as that.
fn length(value: &[u8]) -> Result<usize, TlsError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(TlsError::Http);
    }
    Ok(value.iter().fold(0usize, |n, digit| {
        n.saturating_mul(10)
            .saturating_add(usize::from(digit.saturating_sub(b'0')))
    }))
}
