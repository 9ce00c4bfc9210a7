//! A certificate authority of the service's own. Devices trust it and nothing
//! else.

use super::{Error, Result};
use nrd_sim_base::secret_file;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Names that the server's certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes `ca.pem` and `ca.key` at the first start, signs a fresh server
/// certificate at each, and answers the TLS 1.3 configuration.
pub fn server_config(dir: &Path) -> Result<Arc<ServerConfig>> {
    let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if !key.exists() {
        let fresh = KeyPair::generate().map_err(|e| content(&key, e))?;
        let pem = authority()
            .self_signed(&fresh)
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
    let text = fs::read_to_string(&key).map_err(|e| Error::File(key.clone(), e))?;
    let ca_key = KeyPair::from_pem(&text).map_err(|e| content(&key, e))?;
    let issuer = Issuer::new(authority(), ca_key);
    let server_key = KeyPair::generate().map_err(|e| content(&key, e))?;
    let mut params =
        CertificateParams::new(NAMES.map(String::from).to_vec()).map_err(|e| content(&cert, e))?;
    params.distinguished_name = name("Reference service of the simulator");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let server = params
        .signed_by(&server_key, &issuer)
        .map_err(|e| content(&cert, e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| content(&cert, e))?
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der())),
        )
        .map_err(|e| content(&cert, e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets that this process alone can open, under keys in RAM that it
    // replaces every six hours.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|e| content(&cert, e))?;
    Ok(Arc::new(config))
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Private root of the simulator");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn content(path: &Path, e: impl std::fmt::Display) -> Error {
    Error::Content(path.to_owned(), e.to_string())
}
