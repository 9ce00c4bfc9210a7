//! A certificate authority of the service's own. Devices trust it and nothing
//! else.
//!
//! The server's certificate has an ordinary life and is renewed while the service
//! runs: each connection asks for the time, and the first one in the last third
//! of a certificate's life is shown the next.

use super::{Error, Result};
use nrd_sim_base::{secret_file, time_format};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;

/// Names that the server's certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY_S: u64 = 86_400;
/// Life of the root, `ca.pem`, from its making, in seconds: ten years of 365 days.
pub const ROOT_LIFE_S: u64 = 10 * 365 * DAY_S;
/// How long a server certificate lives; 90 days unless said. It is renewed after
/// two thirds of that: a service that is switched off is started again before the
/// rest has passed, or renews then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafLife {
    days: u32,
}

impl LeafLife {
    /// So many days, at least one.
    pub fn days(days: u32) -> LeafLife {
        LeafLife { days: days.max(1) }
    }

    /// In seconds.
    pub fn seconds(self) -> u64 {
        u64::from(self.days) * DAY_S
    }

    /// The age at which it is renewed, in seconds.
    pub fn renewed_after_s(self) -> u64 {
        self.seconds() / 3 * 2
    }
}

impl Default for LeafLife {
    fn default() -> LeafLife {
        LeafLife::days(90)
    }
}

/// A certificate is valid from this long before it is issued, in seconds: clocks
/// of devices run late.
pub const BACKDATED_S: u64 = DAY_S;

/// Says the time, in Unix seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The authority: what signs server certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert: PathBuf,
}

/// A server certificate with its key.
#[derive(Clone)]
struct Leaf {
    certified: Arc<CertifiedKey>,
    issued_s: u64,
    life: LeafLife,
}

impl Leaf {
    /// True in the last third of its life, and when the clock was set back to
    /// before it begins.
    fn is_due(&self, now_s: u64) -> bool {
        now_s >= self.issued_s + self.life.renewed_after_s() || now_s + BACKDATED_S < self.issued_s
    }
}

impl Authority {
    /// Opens the authority of a folder; makes `ca.pem` and `ca.key` where there is
    /// none yet.
    pub fn open(dir: &Path, now_s: u64) -> Result<Authority> {
        let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !key.exists() {
            let fresh = KeyPair::generate().map_err(|e| content(&key, e))?;
            let pem = root(now_s)
                .and_then(|root| root.self_signed(&fresh).map_err(|e| e.to_string()))
                .map_err(|e| content(&cert, e))?
                .pem();
            match secret_file::write(&key, &fresh.serialize_pem()) {
                Ok(()) => fs::write(&cert, pem).map_err(|e| Error::File(cert.clone(), e))?,
                // Another process that shares the folder was faster.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
                Err(e) => return Err(Error::File(key, e)),
            }
        }
        secret_file::check_private(&key)?;
        let text = fs::read_to_string(&key).map_err(|e| Error::File(key.clone(), e))?;
        let ca_key = KeyPair::from_pem(&text).map_err(|e| content(&key, e))?;
        // The dates of the root are not part of what it signs.
        let root = root(now_s).map_err(|e| content(&cert, e))?;
        Ok(Authority {
            issuer: Issuer::new(root, ca_key),
            cert,
        })
    }

    /// Signs a server certificate.
    fn issue(&self, now_s: u64, life: LeafLife) -> Result<Leaf> {
        let failed = |e: &dyn fmt::Display| content(&self.cert, e);
        let key = KeyPair::generate().map_err(|e| failed(&e))?;
        let mut params =
            CertificateParams::new(NAMES.map(String::from).to_vec()).map_err(|e| failed(&e))?;
        params.distinguished_name = name("Reference service of the simulator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) =
            valid(now_s, life.seconds()).map_err(|e| failed(&e))?;
        let signed = params
            .signed_by(&key, &self.issuer)
            .map_err(|e| failed(&e))?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = any_ecdsa_type(&der).map_err(|e| failed(&e))?;
        Ok(Leaf {
            certified: Arc::new(CertifiedKey::new(vec![signed.der().clone()], key)),
            issued_s: now_s,
            life,
        })
    }
}

/// From when until when the root of a folder is good, Unix seconds; `None` where
/// there is no authority yet.
///
/// # Errors
/// Its files cannot be used, or do not belong together.
pub fn inspect(dir: &Path) -> Result<Option<(u64, u64)>> {
    let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if !cert.exists() && !key.exists() {
        return Ok(None);
    }
    secret_file::check_private(&key)?;
    let text = fs::read_to_string(&key).map_err(|e| Error::File(key.clone(), e))?;
    let pair = KeyPair::from_pem(&text).map_err(|e| content(&key, e))?;
    let der = CertificateDer::from_pem_file(&cert).map_err(|e| content(&cert, e))?;
    if !contains(&der, pair.public_key_raw()) {
        return Err(content(&cert, "ca.key is the key of another certificate"));
    }
    let dates = dates(&der).ok_or_else(|| content(&cert, "it has no dates"))?;
    Ok(Some(dates))
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|w| w == part)
}

/// The validity of a certificate (RFC 5280 §4.1.2.5): a sequence of two times and
/// nothing else, which nothing before it in a certificate looks like.
fn dates(der: &[u8]) -> Option<(u64, u64)> {
    (0..der.len()).find_map(|at| {
        let (&[0x30, _], rest) = der.get(at..)?.split_first_chunk()? else {
            return None;
        };
        let (from, rest) = date(rest)?;
        Some((from, date(rest)?.0))
    })
}

/// A `UTCTime` or a `GeneralizedTime`, and what follows it.
fn date(der: &[u8]) -> Option<(u64, &[u8])> {
    let (&[tag, len], rest) = der.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(len.into())?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest_of_it) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u16 = year.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |n: usize| rest_of_it.get(2 * n..2 * n + 2);
    let (month, day, hour, minute, second) = (two(0)?, two(1)?, two(2)?, two(3)?, two(4)?);
    let moment = time_format::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"));
    Some((moment?, rest))
}

/// Shows the certificate in force, and renews it when it is due.
struct Renewing {
    authority: Authority,
    clock: Clock,
    leaf: Mutex<Leaf>,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewing")
    }
}

impl ResolvesServerCert for Renewing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now_s = (self.clock)();
        let mut leaf = self.leaf.lock().unwrap_or_else(PoisonError::into_inner);
        if leaf.is_due(now_s) {
            match self.authority.issue(now_s, leaf.life) {
                Ok(next) => {
                    tracing::info!("the server's certificate was renewed");
                    *leaf = next;
                }
                // The old one is good for a while yet; the next connection tries
                // again.
                Err(e) => tracing::error!(error = %e, "the server's certificate was not renewed"),
            }
        }
        Some(leaf.certified.clone())
    }
}

/// Opens the authority of a folder and answers the TLS 1.3 configuration of a
/// server, whose certificate is renewed as `clock` goes on.
pub fn server_config(dir: &Path, clock: Clock, life: LeafLife) -> Result<Arc<ServerConfig>> {
    let now_s = clock();
    let authority = Authority::open(dir, now_s)?;
    let cert = authority.cert.clone();
    let leaf = Mutex::new(authority.issue(now_s, life)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| content(&cert, e))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Renewing {
            authority,
            clock,
            leaf,
        }));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets that this process alone can open, under keys in RAM that it
    // replaces every six hours.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|e| content(&cert, e))?;
    Ok(Arc::new(config))
}

fn root(now_s: u64) -> std::result::Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Private root of the simulator");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = valid(now_s, ROOT_LIFE_S)?;
    Ok(params)
}

/// Not-before and not-after of what is issued now.
fn valid(now_s: u64, life_s: u64) -> std::result::Result<(OffsetDateTime, OffsetDateTime), String> {
    let date = |s: u64| {
        let s = i64::try_from(s).map_err(|e| e.to_string())?;
        OffsetDateTime::from_unix_timestamp(s).map_err(|e| e.to_string())
    };
    Ok((
        date(now_s.saturating_sub(BACKDATED_S))?,
        date(now_s.saturating_add(life_s))?,
    ))
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn content(path: &Path, e: impl fmt::Display) -> Error {
    Error::Content(path.to_owned(), e.to_string())
}
