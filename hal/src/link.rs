//! A byte stream to the service.

use crate::error::ErrorType;
use embedded_io::{Read, Write};

/// Opens a TCP-like byte stream to the service. TLS runs above it, in the
/// agent; a firmware with an HTTPS stack of its own does not need this trait.
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
