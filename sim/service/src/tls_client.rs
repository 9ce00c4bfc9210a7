//! TLS to what the service itself calls: the database and the broker. Only the
//! roots that the operator names are trusted, and the name is always verified.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whom to trust, and who the service is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Roots, PEM.
    pub ca: PathBuf,
    /// The service's certificate and its key, PEM; they may be one file.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Reads the files. An error names the file and never shows what is in it.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.ca)? {
            roots.add(root).map_err(|e| named(&self.ca, &e))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let Some((cert, key)) = &self.identity else {
            return Ok(config.with_no_client_auth());
        };
        let chain = certificates(cert)?;
        config
            .with_client_auth_cert(chain, private_key(key)?)
            .map_err(|e| named(key, &e))
    }
}

fn named(path: &Path, e: &dyn Display) -> String {
    format!("{}: {e}", path.display())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| named(path, &e))?;
    if found.is_empty() {
        return Err(named(path, &"no certificate in it (PEM is expected)"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = std::fs::metadata(path).map_err(|e| named(path, &e))?.mode();
        if mode & 0o077 != 0 {
            return Err(named(path, &"others may read this key; chmod 600 it"));
        }
    }
    PrivateKeyDer::from_pem_file(path).map_err(|e| named(path, &e))
}
