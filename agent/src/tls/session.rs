//! One TLS connection, from hello to close.

use super::TlsError;
use super::http::Response;
use super::time::Deadline;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use embedded_io::{Read, Write};
use rustls::ClientConfig;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, ReadTraffic,
    UnbufferedStatus,
};
use zeroize::Zeroizing;

/// Bytes received and not digested yet: one record of the largest size
/// (RFC 8446 §5.2: 2¹⁴ + 256 + 5), and room for a handshake message in parts.
const INCOMING: usize = 20 * 1024;
/// Bytes to send: a hello, or the request.
const OUTGOING: usize = 8 * 1024;
/// Everything a service may send in one exchange, in bytes.
pub(super) const BUDGET: usize = 64 * 1024;
/// Turns of the state machine in one exchange.
const MAX_TURNS: u32 = 4096;

struct Buffers {
    /// Decrypted in place by rustls.
    incoming: Zeroizing<Vec<u8>>,
    filled: usize,
    received: usize,
    outgoing: Vec<u8>,
    queued: usize,
}

impl Buffers {
    fn discard(&mut self, n: usize) {
        let n = n.min(self.filled);
        self.incoming.copy_within(n..self.filled, 0);
        self.filled -= n;
    }

    fn receive<S: Read>(
        &mut self,
        stream: &mut S,
        time: &mut Deadline<'_>,
    ) -> Result<(), TlsError> {
        time.check()?;
        let room = self
            .incoming
            .get_mut(self.filled..)
            .filter(|room| !room.is_empty())
            .ok_or(TlsError::TooLarge)?;
        match stream.read(room) {
            Ok(0) => Err(TlsError::Closed),
            Err(_) => Err(TlsError::Io),
            Ok(n) => {
                self.filled = self.filled.saturating_add(n);
                self.received = self.received.saturating_add(n);
                if self.received > BUDGET {
                    return Err(TlsError::TooLarge);
                }
                time.check()
            }
        }
    }

    fn queue<E: Oversize>(
        &mut self,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), TlsError> {
        let room = self.outgoing.get_mut(self.queued..).unwrap_or_default();
        let n = encode(room).map_err(|e| e.refuse())?;
        self.queued = self.queued.saturating_add(n);
        Ok(())
    }

    fn send<S: Write>(&mut self, stream: &mut S, time: &mut Deadline<'_>) -> Result<(), TlsError> {
        let mut bytes = self.outgoing.get(..self.queued).unwrap_or_default();
        // Not `write_all`: a peer that takes a byte now and then would hold it.
        while !bytes.is_empty() {
            let n = match stream.write(bytes) {
                Ok(0) | Err(_) => return Err(TlsError::Io),
                Ok(n) => n,
            };
            bytes = bytes.get(n..).ok_or(TlsError::Io)?;
            time.check()?;
        }
        stream.flush().map_err(|_| TlsError::Io)?;
        self.queued = 0;
        Ok(())
    }
}

/// A request that does not fit into [`OUTGOING`] is refused: none is so long.
trait Oversize {
    fn refuse(self) -> TlsError;
}

impl Oversize for EncodeError {
    fn refuse(self) -> TlsError {
        match self {
            EncodeError::InsufficientSize(InsufficientSizeError { .. }) => TlsError::TooLarge,
            EncodeError::AlreadyEncoded => TlsError::Protocol,
        }
    }
}

impl Oversize for EncryptError {
    fn refuse(self) -> TlsError {
        match self {
            EncryptError::InsufficientSize(InsufficientSizeError { .. }) => TlsError::TooLarge,
            EncryptError::EncryptExhausted => TlsError::Protocol,
        }
    }
}

/// What one turn of the TLS state machine left to do.
enum Turn {
    /// Turn again.
    Again,
    /// Nothing goes on without more bytes of the peer.
    Read,
    /// The whole answer is here.
    Done,
}

/// Sends `request` once the peer is authenticated, and reads `response`.
pub(super) fn run<S: Read + Write>(
    stream: &mut S,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    request: &[u8],
    response: &mut Response,
    time: &mut Deadline<'_>,
) -> Result<(), TlsError> {
    let mut conn = UnbufferedClientConnection::new(config, name)?;
    let mut buffers = Buffers {
        incoming: Zeroizing::new(vec![0; INCOMING]),
        filled: 0,
        received: 0,
        outgoing: vec![0; OUTGOING],
        queued: 0,
    };
    // Taken once the peer is authenticated: it is sent at most once.
    let mut request = Some(request);
    for _ in 0..MAX_TURNS {
        // rustls borrows the incoming bytes while the rest is being filled.
        let filled = buffers.filled;
        let mut incoming = core::mem::take(&mut *buffers.incoming);
        let UnbufferedStatus { mut discard, state } =
            conn.process_tls_records(incoming.get_mut(..filled).unwrap_or_default());
        let turned = match state {
            Err(e) => Err(e.into()),
            Ok(ConnectionState::ReadTraffic(traffic)) => {
                read_records(traffic, &mut discard, response).map(|()| Turn::Again)
            }
            Ok(state) => turn(state, &mut buffers, stream, &mut request, response, time),
        };
        *buffers.incoming = incoming;
        let turned = turned?;
        buffers.discard(discard);
        match turned {
            Turn::Again => {}
            Turn::Read => buffers.receive(stream, time)?,
            Turn::Done => return Ok(()),
        }
    }
    Err(TlsError::TooLarge)
}

/// Takes the records that have been decrypted, each a part of the answer.
fn read_records(
    mut traffic: ReadTraffic<'_, '_, ClientConnectionData>,
    discard: &mut usize,
    response: &mut Response,
) -> Result<(), TlsError> {
    while let Some(record) = traffic.next_record() {
        let record = record?;
        *discard = discard.saturating_add(record.discard);
        response.push(record.payload)?;
    }
    Ok(())
}

/// Does what the TLS state machine asks for, reading apart.
fn turn<S: Read + Write>(
    state: ConnectionState<'_, '_, ClientConnectionData>,
    buffers: &mut Buffers,
    stream: &mut S,
    request: &mut Option<&[u8]>,
    response: &mut Response,
    time: &mut Deadline<'_>,
) -> Result<Turn, TlsError> {
    match state {
        ConnectionState::EncodeTlsData(mut data) => {
            buffers.queue(|out| data.encode(out))?;
            Ok(Turn::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            let sent = buffers.send(stream, time);
            data.done();
            sent.map(|()| Turn::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Turn::Read),
        ConnectionState::WriteTraffic(mut traffic) => {
            // Only now is the peer authenticated.
            if let Some(request) = request.take() {
                buffers.queue(|out| traffic.encrypt(request, out))?;
                buffers.send(stream, time)?;
                return Ok(Turn::Again);
            }
            if !response.is_complete() {
                return Ok(Turn::Read);
            }
            #[expect(
                clippy::let_underscore_must_use,
                reason = "the answer is here, whatever becomes of the farewell: a peer that \
                          has closed already makes it fail, and that is no fault"
            )]
            let _ = buffers
                .queue(|out| traffic.queue_close_notify(out))
                .and_then(|()| buffers.send(stream, time));
            Ok(Turn::Done)
        }
        ConnectionState::PeerClosed | ConnectionState::Closed => {
            // `close_notify` was authenticated: nobody in between cut the answer.
            response.close();
            if response.is_complete() {
                Ok(Turn::Done)
            } else {
                Err(TlsError::Closed)
            }
        }
        // Early data is never offered, and the enum may grow.
        _ => Err(TlsError::Protocol),
    }
}
