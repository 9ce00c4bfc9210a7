//! A byte stream to the service.

use crate::error::ErrorType;
use embedded_io::{Read, Write};

/// Opens a TCP-like byte stream to the service. TLS runs above it, in the
/// agent; a firmware with an HTTPS stack of its own does not need this trait.
///
/// ```
/// use nrd_hal::embedded_io::{self, Read, Write};
/// use nrd_hal::{ErrorKind, ErrorType, Link};
///
/// /// Echoes what was written; a real port opens a TCP socket.
/// struct Loopback {
///     bytes: Vec<u8>,
/// }
///
/// struct Stream<'a>(&'a mut Vec<u8>);
///
/// impl ErrorType for Loopback {
///     type Error = ErrorKind;
/// }
///
/// impl Link for Loopback {
///     type Stream<'a> = Stream<'a>;
///     fn connect(&mut self) -> Result<Stream<'_>, ErrorKind> {
///         self.bytes.clear();
///         Ok(Stream(&mut self.bytes))
///     }
/// }
///
/// impl embedded_io::ErrorType for Stream<'_> {
///     type Error = embedded_io::ErrorKind;
/// }
/// impl Read for Stream<'_> {
///     fn read(&mut self, out: &mut [u8]) -> Result<usize, Self::Error> {
///         let n = out.len().min(self.0.len());
///         for (to, from) in out.iter_mut().zip(self.0.drain(..n)) {
///             *to = from;
///         }
///         Ok(n)
///     }
/// }
/// impl Write for Stream<'_> {
///     fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
///         self.0.extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
///     fn flush(&mut self) -> Result<(), Self::Error> {
///         Ok(())
///     }
/// }
///
/// let mut link = Loopback { bytes: Vec::new() };
/// let mut stream = link.connect().unwrap();
/// stream.write_all(b"hello").unwrap();
/// let mut heard = [0; 5];
/// stream.read_exact(&mut heard).unwrap();
/// assert_eq!(&heard, b"hello");
/// ```
pub trait Link: ErrorType {
    /// The stream. Dropping it closes the connection.
    type Stream<'a>: Read + Write
    where
        Self: 'a;

    /// Connects. Blocks for at most the port's own time-out; `read` and
    /// `write` on the stream likewise.
    fn connect(&mut self) -> Result<Self::Stream<'_>, Self::Error>;
}

impl<T: Link + ?Sized> Link for &mut T {
    type Stream<'a>
        = T::Stream<'a>
    where
        Self: 'a;
    fn connect(&mut self) -> Result<Self::Stream<'_>, Self::Error> {
        T::connect(self)
    }
}
