//! Why an exchange failed.

use crate::error::Error;
use rustls::CertificateError;

/// Why an exchange failed. Holds nothing of what was sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The pinned root is no certificate.
    Root,
    /// The service's name is neither a DNS name nor an address.
    Authority,
    /// No connection.
    Connect,
    /// The connection broke, or a time-out passed.
    Io,
    /// The service's certificate was not issued by the pinned root.
    UnknownIssuer,
    /// The service's certificate is not valid at this time.
    Expired,
    /// The service's certificate is for another name.
    WrongName,
    /// The service's certificate was refused for another reason.
    Certificate,
    /// The peer speaks no TLS 1.3.
    Version,
    /// The peer broke the TLS protocol.
    Protocol,
    /// The peer closed before the answer was complete.
    Closed,
    /// The answer is not what HTTP or SPEC §10 prescribes.
    Http,
    /// The service answered with this HTTP status.
    Status(u16),
    /// The answer's body, or TLS around it, is larger than any reply may be.
    TooLarge,
    /// The answer's head is larger than [`MAX_HEAD`](super::MAX_HEAD).
    HeadTooLarge,
    /// The answer's transfer or content coding is none that is understood.
    Encoding,
    /// The exchange took longer than [`HttpsConfig::exchange_ms`](super::HttpsConfig).
    Deadline,
    /// The agent refused the reply, or could not make the request.
    Agent(Error),
}

impl TlsError {
    /// A stable number for logs and the C interface.
    pub const fn code(&self) -> u16 {
        match self {
            TlsError::Root => 101,
            TlsError::Authority => 102,
            TlsError::Connect => 103,
            TlsError::Io => 104,
            TlsError::UnknownIssuer => 105,
            TlsError::Expired => 106,
            TlsError::WrongName => 107,
            TlsError::Certificate => 108,
            TlsError::Version => 109,
            TlsError::Protocol => 110,
            TlsError::Closed => 111,
            TlsError::Http => 112,
            TlsError::Status(_) => 113,
            TlsError::TooLarge => 114,
            TlsError::HeadTooLarge => 115,
            TlsError::Encoding => 116,
            TlsError::Deadline => 117,
            TlsError::Agent(e) => e.code(),
        }
    }
}

impl core::fmt::Display for TlsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            TlsError::Root => "the pinned root is no certificate: hand in the service's ca.pem",
            TlsError::Authority => "the service's name is neither a DNS name nor an address",
            TlsError::Connect => "no connection to the service: is it running, and is the address right?",
            TlsError::Io => "the connection broke or timed out",
            TlsError::UnknownIssuer => {
                "the service's certificate was not issued by the pinned root: wrong ca file, or somebody in between"
            }
            TlsError::Expired => "the service's certificate is not valid now: check the clock",
            TlsError::WrongName => "the service's certificate is for another name",
            TlsError::Certificate => "the service's certificate is refused",
            TlsError::Version => "the service speaks no TLS 1.3",
            TlsError::Protocol => "the service does not speak TLS properly",
            TlsError::Closed => "the service closed the connection before its answer was complete",
            TlsError::Http => "the service's answer is not the HTTP that was agreed",
            TlsError::Status(s) => return write!(f, "the service answered with HTTP status {s}"),
            TlsError::TooLarge => "the service's answer is too large",
            TlsError::HeadTooLarge => {
                "the head of the service's answer is too large: does a proxy add to it?"
            }
            TlsError::Encoding => {
                "the service's answer has a transfer or content coding that was not agreed: does a proxy compress it?"
            }
            TlsError::Deadline => "the exchange took longer than it may",
            TlsError::Agent(e) => return e.fmt(f),
        })
    }
}

impl core::error::Error for TlsError {}

impl From<rustls::Error> for TlsError {
    fn from(e: rustls::Error) -> Self {
        use rustls::{AlertDescription, Error as E};
        match e {
            // A bad signature: somebody else's root of the same name.
            E::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => TlsError::UnknownIssuer,
            E::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => TlsError::Expired,
            E::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => TlsError::WrongName,
            E::InvalidCertificate(_) => TlsError::Certificate,
            E::PeerIncompatible(_) | E::AlertReceived(AlertDescription::ProtocolVersion) => {
                TlsError::Version
            }
            _ => TlsError::Protocol,
        }
    }
}
