//! Judges the service's certificate, on devices with and without a clock
//! (SPEC §10).

use super::time::{CertificateTime, KnownTime, unix};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use spin::Mutex;

/// Most certificates of a path, with room to spare: webpki takes a leaf and six
/// authorities.
const MAX_PATH: usize = 8;

/// A path that was accepted.
struct Path {
    leaf: CertificateDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
}

/// rustls' own verifier, asked at a time of ours.
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    time: Arc<dyn CertificateTime>,
    /// The path accepted last.
    accepted: Mutex<Option<Path>>,
}

impl Verifier {
    pub(super) fn new(webpki: Arc<WebPkiServerVerifier>, time: Arc<dyn CertificateTime>) -> Self {
        Verifier {
            webpki,
            time,
            accepted: Mutex::new(None),
        }
    }

    /// True when the path accepted last would be accepted now. A resumed session
    /// is not shown a certificate again: without this look a device that stays on
    /// would go on with one that has ended.
    pub(super) fn still_accepts(&self) -> bool {
        // Asked before the lock is taken: a host's own code runs here.
        let known = self.time.known_time();
        let accepted = self.accepted.lock();
        accepted
            .as_ref()
            .is_some_and(|p| self.judge(&p.leaf, &p.authorities, &p.name, known).is_ok())
    }

    /// Judges a path at the known time; where not-before is not judged, at the
    /// latest not-before in it if that is later. webpki has no switch for
    /// not-before, but its error says when the certificate begins.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        authorities: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        known: KnownTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut at = unix(known.seconds());
        for _ in 0..MAX_PATH {
            let judged = self
                .webpki
                .verify_server_cert(leaf, authorities, name, &[], at);
            match (judged, known) {
                (
                    Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                        not_before,
                        ..
                    })),
                    KnownTime::AtLeast(_),
                ) if not_before.as_secs() > at.as_secs() => at = not_before,
                (judged, _) => return judged,
            }
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        authorities: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.judge(leaf, authorities, name, self.time.known_time())?;
        *self.accepted.lock() = Some(Path {
            leaf: leaf.clone().into_owned(),
            authorities: authorities.iter().map(|c| c.clone().into_owned()).collect(),
            name: name.to_owned(),
        });
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
