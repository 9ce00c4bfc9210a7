//! One TLS connection, from hello to close.

use super::TlsError;
use super::http::Response;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use embedded_io::{Read, Write};
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use zeroize::Zeroizing;

/// Bytes received and not digested yet: one record of the largest size
/// (RFC 8446 §5.2: 2¹⁴ + 256 + 5), and room for a handshake message in parts.
const INCOMING: usize = 20 * 1024;
/// Bytes to send: a hello, or the request.
const OUTGOING: usize = 8 * 1024;
/// Everything a service may send in one exchange, in bytes.
const BUDGET: usize = 64 * 1024;
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

    fn receive<S: Read>(&mut self, stream: &mut S) -> Result<(), TlsError> {
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
                match self.received > BUDGET {
                    true => Err(TlsError::TooLarge),
                    false => Ok(()),
                }
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

    fn send<S: Write>(&mut self, stream: &mut S) -> Result<(), TlsError> {
        let bytes = self.outgoing.get(..self.queued).unwrap_or_default();
        stream.write_all(bytes).map_err(|_| TlsError::Io)?;
        stream.flush().map_err(|_| TlsError::Io)?;
        self.queued = 0;
        Ok(())
    }
}

/// What does not fit into [`OUTGOING`] is no request of ours.
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

/// Sends `request` once the peer is authenticated, and reads `response`.
pub(super) fn run<S: Read + Write>(
    stream: &mut S,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    request: &[u8],
    response: &mut Response,
) -> Result<(), TlsError> {
    let mut conn = UnbufferedClientConnection::new(config, name)?;
    let mut b = Buffers {
        incoming: Zeroizing::new(vec![0; INCOMING]),
        filled: 0,
        received: 0,
        outgoing: vec![0; OUTGOING],
        queued: 0,
    };
    let mut sent = false;
    for _ in 0..MAX_TURNS {
        let mut wanted = false;
        let mut done = false;
        let filled = b.filled;
        let mut incoming = core::mem::take(&mut *b.incoming);
        let UnbufferedStatus { mut discard, state } =
            conn.process_tls_records(incoming.get_mut(..filled).unwrap_or_default());
        let turned = match state {
            Err(e) => Err(e.into()),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut read = Ok(());
                while let (Ok(()), Some(record)) = (&read, traffic.next_record()) {
                    read = match record {
                        Ok(record) => {
                            discard = discard.saturating_add(record.discard);
                            response.push(record.payload)
                        }
                        Err(e) => Err(e.into()),
                    };
                }
                read
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => b.queue(|out| data.encode(out)),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                let sent = b.send(stream);
                data.done();
                sent
            }
            Ok(ConnectionState::BlockedHandshake) => {
                wanted = true;
                Ok(())
            }
            // Only now is the peer authenticated.
            Ok(ConnectionState::WriteTraffic(mut traffic)) if !sent => {
                sent = true;
                b.queue(|out| traffic.encrypt(request, out))
                    .and_then(|()| b.send(stream))
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                done = response.is_complete();
                wanted = !done;
                match done {
                    true => {
                        // Politeness: the answer is here, whatever becomes of it.
                        let _ = b
                            .queue(|out| traffic.queue_close_notify(out))
                            .and_then(|()| b.send(stream));
                        Ok(())
                    }
                    false => Ok(()),
                }
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                done = response.is_complete();
                match done {
                    true => Ok(()),
                    false => Err(TlsError::Closed),
                }
            }
            Ok(_) => Err(TlsError::Protocol),
        };
        *b.incoming = incoming;
        turned?;
        b.discard(discard);
        if done {
            return Ok(());
        }
        if wanted {
            b.receive(stream)?;
        }
    }
    Err(TlsError::TooLarge)
}
