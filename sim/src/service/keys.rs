//! The service's secrets: three files of 64 hexadecimal digits, each readable
//! by its owner alone.
//!
//! | file | holds | who needs it |
//! |---|---|---|
//! | `root.key` | the service root, which firmware pins | only delegations: could be kept offline |
//! | `service.key` | a master secret, all other keys are derived from it | the running service |
//! | `maker.key` | the maker root, which signs device certificates | the factory: the simulator plays it |

use super::error::{Error, Result};
use crate::sign;
use nrd_agent::wire::{Delegation, KeyVersion};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use ring::signature::Ed25519KeyPair;
use std::fs;
use std::path::Path;
use zeroize::Zeroizing;

/// The keys in memory. No `Debug`.
pub struct Keys {
    root: Ed25519KeyPair,
    master: Zeroizing<[u8; 32]>,
    maker: Ed25519KeyPair,
    /// Signs grants, leases and statements.
    pub session: Ed25519KeyPair,
    tokens: Zeroizing<[u8; 32]>,
    columns: Zeroizing<[u8; 32]>,
    index: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// Reads the key files of `dir`, or makes them at the first start.
    pub fn open(dir: &Path) -> Result<Keys> {
        let root = secret_file(&dir.join("root.key"))?;
        let master = secret_file(&dir.join("service.key"))?;
        let maker = secret_file(&dir.join("maker.key"))?;
        let keys = Keys::new(&root, &master, &maker);
        for (name, key) in [
            ("service-root.pub", keys.root_public()),
            ("maker-root.pub", keys.maker_public()),
        ] {
            let path = dir.join(name);
            fs::write(&path, hex(&key) + "\n").map_err(|e| Error::File(path, e))?;
        }
        Ok(keys)
    }

    /// Keys from three secrets.
    pub fn new(root: &[u8; 32], master: &[u8; 32], maker: &[u8; 32]) -> Keys {
        let derive =
            |label: &[u8]| Zeroizing::new(RingCrypto::hkdf(b"nrd/service", master, &[label]));
        Keys {
            root: sign::keypair(root),
            maker: sign::keypair(maker),
            session: sign::keypair(&derive(b"session")),
            tokens: derive(b"token"),
            columns: derive(b"columns"),
            index: derive(b"index"),
            master: Zeroizing::new(*master),
        }
    }

    /// The root public key that firmware pins.
    pub fn root_public(&self) -> [u8; 32] {
        sign::public(&self.root)
    }

    /// The maker's public key.
    pub fn maker_public(&self) -> [u8; 32] {
        sign::public(&self.maker)
    }

    /// What a database must belong to: a name and a public value for each key
    /// file.
    pub fn owners(&self) -> [(&'static str, [u8; 32]); 3] {
        [
            ("root.key", self.root_public()),
            ("service.key", sign::public(&self.session)),
            ("maker.key", self.maker_public()),
        ]
    }

    /// The maker's key: the simulator plays the factory as well.
    pub fn maker(&self) -> &Ed25519KeyPair {
        &self.maker
    }

    /// The order key of a version.
    pub fn order(&self, version: KeyVersion) -> Ed25519KeyPair {
        let label = [b"order".as_slice(), &version.0.to_le_bytes()];
        sign::keypair(&Zeroizing::new(RingCrypto::hkdf(
            b"nrd/service",
            self.master.as_ref(),
            &label,
        )))
    }

    /// A delegation by the root.
    pub fn delegation(&self, version: u32, time_version: u32, time_floor: u64) -> Vec<u8> {
        sign::signed(
            &self.root,
            &Delegation {
                version,
                order_key_version: KeyVersion(version),
                order_key: sign::public(&self.order(KeyVersion(version))),
                session_key: sign::public(&self.session),
                time_version,
                time_floor,
            },
        )
    }

    /// The token of a generation (SPEC §10). The database holds no token.
    pub fn token(&self, series: &[u8], generation: u32) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(RingCrypto::hmac(
            self.tokens.as_ref(),
            &[b"nrd/1/token\0", series, &generation.to_le_bytes()],
        ))
    }

    /// A keyed digest under which personal data can be found again, and which
    /// says nothing without the key.
    pub fn index(&self, what: &str, value: &str) -> [u8; 32] {
        RingCrypto::hmac(
            self.index.as_ref(),
            &[what.as_bytes(), b"\0", value.as_bytes()],
        )
    }

    /// Seals a column's value for one place: AES-256-GCM, nonce ‖ ciphertext ‖
    /// tag, with `place` as associated data.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; 12] = random()?;
        let mut out = nonce.to_vec();
        let mut text = value.to_vec();
        let tag = RingCrypto::seal(&self.columns, &nonce, place.as_bytes(), &mut text)
            .map_err(|_| Error::Sealed)?;
        out.extend_from_slice(&text);
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens a sealed column.
    pub fn open_column(&self, place: &str, sealed: &[u8]) -> Result<String> {
        let (nonce, rest) = sealed.split_first_chunk::<12>().ok_or(Error::Sealed)?;
        let (text, tag) = rest.split_last_chunk::<16>().ok_or(Error::Sealed)?;
        let mut text = text.to_vec();
        RingCrypto::open(&self.columns, nonce, place.as_bytes(), &mut text, tag)
            .map_err(|_| Error::Sealed)?;
        String::from_utf8(text).map_err(|_| Error::Sealed)
    }
}

/// N random bytes of the operating system.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    fill_random(&mut out)?;
    Ok(out)
}

/// Fills `out` from the operating system.
pub(super) fn fill_random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|_| Error::Random)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads hexadecimal digits; surrounding white space is ignored.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.trim();
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (o, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *o = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

fn secret_file(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    let file = |e| Error::File(path.to_owned(), e);
    if !path.exists() {
        let secret = Zeroizing::new(random::<32>()?);
        match write_secret(path, &(hex(secret.as_ref()) + "\n")) {
            Ok(()) => return Ok(secret),
            // Another process that shares the folder was faster.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            Err(e) => return Err(file(e)),
        }
    }
    check_private(path)?;
    let text = Zeroizing::new(fs::read_to_string(path).map_err(file)?);
    unhex(&text).map(Zeroizing::new).ok_or_else(|| {
        Error::Content(
            path.to_owned(),
            "64 hexadecimal digits are expected: restore the file from your backup".into(),
        )
    })
}

/// Writes a file that only its owner can read. Never replaces one.
pub(crate) fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = fs::metadata(path).map_err(|e| Error::File(path.to_owned(), e))?;
    match meta.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => Err(Error::Content(
            path.to_owned(),
            "others can read this secret: chmod 600 it".into(),
        )),
    }
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<()> {
    Ok(())
}
