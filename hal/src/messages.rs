//! Messages over a byte stream, each behind its length.
//!
//! A desk and a device speak so over a serial port, USB or a socket (SPEC §9,
//! Storage check): two bytes of length, the lowest first, then the message.

use embedded_io::{Read, ReadExactError, Write};

/// Sends and receives messages over a stream that blocks.
///
/// ```
/// # use nrd_hal::embedded_io::{ErrorType, Read, Write};
/// # #[derive(Default)]
/// # struct Loopback(std::collections::VecDeque<u8>);
/// # impl ErrorType for Loopback { type Error = std::convert::Infallible; }
/// # impl Read for Loopback {
/// #     fn read(&mut self, out: &mut [u8]) -> Result<usize, Self::Error> {
/// #         let n = out.len().min(self.0.len());
/// #         out[..n].iter_mut().zip(self.0.drain(..n)).for_each(|(to, from)| *to = from);
/// #         Ok(n)
/// #     }
/// # }
/// # impl Write for Loopback {
/// #     fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
/// #         self.0.extend(bytes);
/// #         Ok(bytes.len())
/// #     }
/// #     fn flush(&mut self) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// use nrd_hal::messages::{MessageError, Messages};
///
/// let mut serial = Messages::new(Loopback::default());
/// serial.send(b"hello").unwrap();
/// serial.send(b"").unwrap();
///
/// let mut buffer = [0; 8];
/// assert_eq!(serial.receive(&mut buffer), Ok(&b"hello"[..]));
/// assert_eq!(serial.receive(&mut buffer), Ok(&b""[..]));
/// // The other side has ended between two messages.
/// assert_eq!(serial.receive(&mut buffer), Err(MessageError::Closed));
/// ```
#[derive(Debug)]
pub struct Messages<S> {
    stream: S,
}

/// Why a message was not sent or received. The stream is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError<E> {
    /// The stream ended: between two messages, or in one.
    Closed,
    /// The message is longer than the receiver's buffer, or than 65,535 bytes.
    TooLong,
    /// The stream failed.
    Stream(E),
}

impl<S> Messages<S> {
    /// Messages over this stream.
    pub fn new(stream: S) -> Self {
        Messages { stream }
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: Write> Messages<S> {
    /// Sends a message, and flushes.
    pub fn send(&mut self, message: &[u8]) -> Result<(), MessageError<S::Error>> {
        let length = u16::try_from(message.len()).map_err(|_| MessageError::TooLong)?;
        let failed = MessageError::Stream;
        self.stream
            .write_all(&length.to_le_bytes())
            .map_err(failed)?;
        self.stream.write_all(message).map_err(failed)?;
        self.stream.flush().map_err(failed)
    }
}

impl<S: Read> Messages<S> {
    /// Waits for a message and reads it into `buffer`.
    pub fn receive<'b>(
        &mut self,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], MessageError<S::Error>> {
        let mut length = [0; 2];
        self.read(&mut length)?;
        let message = buffer
            .get_mut(..usize::from(u16::from_le_bytes(length)))
            .ok_or(MessageError::TooLong)?;
        self.read(message)?;
        Ok(message)
    }

    fn read(&mut self, out: &mut [u8]) -> Result<(), MessageError<S::Error>> {
        self.stream.read_exact(out).map_err(|e| match e {
            ReadExactError::UnexpectedEof => MessageError::Closed,
            ReadExactError::Other(e) => MessageError::Stream(e),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    /// A stream that gives a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl embedded_io::ErrorType for Slow<'_> {
        type Error = Infallible;
    }

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
            match (self.0.split_first(), out.first_mut()) {
                (Some((byte, rest)), Some(to)) => {
                    *to = *byte;
                    self.0 = rest;
                    Ok(1)
                }
                _ => Ok(0),
            }
        }
    }

    #[test]
    fn a_message_that_comes_a_byte_at_a_time_is_one_message() {
        let mut messages = Messages::new(Slow(&[3, 0, 7, 8, 9, 1, 0, 5]));
        let mut buffer = [0; 4];
        assert_eq!(messages.receive(&mut buffer), Ok(&[7, 8, 9][..]));
        assert_eq!(messages.receive(&mut buffer), Ok(&[5][..]));
        let ended = messages.receive(&mut buffer);
        assert_eq!(ended, Err(MessageError::Closed));
    }

    #[test]
    fn a_message_longer_than_the_buffer_or_cut_short_is_none() {
        let mut buffer = [0; 4];
        let long = Messages::new(Slow(&[5, 0, 1, 2, 3, 4, 5])).receive(&mut buffer)
            == Err(MessageError::TooLong);
        let cut = Messages::new(Slow(&[3, 0, 1])).receive(&mut buffer) == Err(MessageError::Closed);
        assert!(long && cut);
    }
}
