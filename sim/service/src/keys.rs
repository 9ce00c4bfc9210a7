//! The service's secrets: files of 64 hexadecimal digits, each readable by its
//! owner alone.
//!
//! | file | holds | who needs it |
//! |---|---|---|
//! | `root.key` | the first service root, which firmware pins | only delegations: could be kept offline |
//! | `root-1.key`, `root-2.key`, … | the roots that followed it | the same; the newest alone |
//! | `service.key` | a master secret, all other keys are derived from it | the running service |
//! | `maker.key` | the maker root, which signs device certificates | the factory: the simulator plays it |

use super::error::{Error, Result};
use nrd_agent::wire::{Delegation, KeyVersion, RootChange, TermBounds, TrustVersion};
use nrd_agent_derive::Named;
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::{hex, secret_file, sign};
use ring::signature::Ed25519KeyPair;
use std::fs;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a keyed digest is for: each use has digests of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Named)]
pub enum Index {
    /// Finds the account of an e-mail address.
    Email,
    /// Counts wrong passwords from an address.
    #[named("login address")]
    LoginAddress,
    /// Counts wrong codes typed for an account.
    Codes,
    /// Counts wrong codes typed from an address.
    #[named("code address")]
    CodeAddress,
    /// The token that follows one of a remembered computer.
    #[named("next remember token")]
    NextRememberToken,
    /// Marks a browser from which an account was signed in to.
    #[named("known browser")]
    KnownBrowser,
    /// Counts wrong passwords from a known browser.
    #[named("known browser tries")]
    KnownBrowserTries,
    /// Names an account to a receiver of security events.
    Subject,
    /// Names a device of one account to a receiver of security events.
    #[named("subject device")]
    SubjectDevice,
}

/// The keys in memory. No `Debug`.
pub struct Keys {
    root: Zeroizing<[u8; 32]>,
    /// Where the roots that followed lie; `None` in memory, where they are
    /// derived.
    dir: Option<PathBuf>,
    master: Zeroizing<[u8; 32]>,
    maker: Ed25519KeyPair,
    /// Signs grants, leases and statements.
    pub session: Ed25519KeyPair,
    tokens: Zeroizing<[u8; 32]>,
    columns: Zeroizing<[u8; 32]>,
    index: Zeroizing<[u8; 32]>,
}

/// A key file, for whoever looks after them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyFile {
    /// Its name in the folder of keys.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

/// The files that a start needs: each 64 hexadecimal digits, mode 600.
pub(crate) const KEY_FILES: [KeyFile; 3] = [
    KeyFile {
        name: "root.key",
        purpose: "signs delegations",
    },
    KeyFile {
        name: "service.key",
        purpose: "all other keys of the service derive from it",
    },
    KeyFile {
        name: "maker.key",
        purpose: "signs device certificates",
    },
];

/// What a new delegation says.
pub struct NewDelegation {
    /// Its version, and that of the root that signs it.
    pub version: TrustVersion,
    /// Version of the order key.
    pub order_key: KeyVersion,
    /// What trusted time is at least, Unix seconds.
    pub time_floor: u64,
    /// What devices hold lease terms between.
    pub bounds: TermBounds,
}

/// The file of a root that followed the first.
fn root_name(version: u32) -> String {
    format!("root-{version}.key")
}

impl Keys {
    /// Reads the key files of `dir`, or makes them at the first start.
    pub fn open(dir: &Path) -> Result<Keys> {
        let root = secret_file::read_or_make(&dir.join("root.key"))?;
        let master = secret_file::read_or_make(&dir.join("service.key"))?;
        let maker = secret_file::read_or_make(&dir.join("maker.key"))?;
        let keys = Keys {
            dir: Some(dir.to_owned()),
            ..Keys::new(&root, &master, &maker)
        };
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
            root: Zeroizing::new(*root),
            dir: None,
            maker: sign::keypair(maker),
            session: sign::keypair(&derive(b"session")),
            tokens: derive(b"token"),
            columns: derive(b"columns"),
            index: derive(b"index"),
            master: Zeroizing::new(*master),
        }
    }

    /// The public half of the first root, which firmware pins. Devices follow
    /// the changes from there.
    pub fn root_public(&self) -> [u8; 32] {
        sign::public(&sign::keypair(&self.root))
    }

    /// The service root of a version.
    ///
    /// # Errors
    /// When its file is not here.
    fn root(&self, version: u32) -> Result<Ed25519KeyPair> {
        let seed = match (&self.dir, version) {
            (_, 0) => self.root.clone(),
            (Some(dir), _) => secret_file::read(&dir.join(root_name(version)))?,
            (None, _) => self.derived_root(version),
        };
        Ok(sign::keypair(&seed))
    }

    fn derived_root(&self, version: u32) -> Zeroizing<[u8; 32]> {
        let label = [b"root".as_slice(), &version.to_le_bytes()];
        Zeroizing::new(RingCrypto::hkdf(b"nrd/service", self.root.as_ref(), &label))
    }

    /// Makes the root of `version`, or finds the one that an earlier try left;
    /// returns its public half, and the frame in which the root before it names
    /// it.
    ///
    /// # Errors
    /// When its file cannot be made, or that of the root before it is not here.
    pub fn next_root(&self, version: u32) -> Result<([u8; 32], Vec<u8>)> {
        let old = self.root(version.saturating_sub(1))?;
        let seed = match &self.dir {
            Some(dir) => secret_file::read_or_make(&dir.join(root_name(version)))?,
            None => self.derived_root(version),
        };
        let root = sign::public(&sign::keypair(&seed));
        let change = sign::signed(&old, &RootChange { version, root });
        Ok((root, change))
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

    /// The seed of the key that signs security event tokens.
    pub(crate) fn events_seed(&self) -> Zeroizing<[u8; 32]> {
        let master = self.master.as_ref();
        Zeroizing::new(RingCrypto::hkdf(b"nrd/service", master, &[b"events"]))
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

    /// A delegation by the root of `version`.
    ///
    /// # Errors
    /// When that root's file is not here.
    pub fn delegation(&self, of: &NewDelegation) -> Result<Vec<u8>> {
        let order_key = self.order(of.order_key);
        Ok(sign::signed(
            &self.root(of.version.root)?,
            &Delegation {
                version: of.version,
                order_key_version: of.order_key,
                order_key: sign::public(&order_key),
                session_key: sign::public(&self.session),
                // Each delegation may set the time anew, up or down.
                time_version: of.order_key.0,
                time_floor: of.time_floor,
                bounds: of.bounds,
            },
        ))
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
    pub fn index(&self, of: Index, value: &str) -> [u8; 32] {
        RingCrypto::hmac(
            self.index.as_ref(),
            &[of.name().as_bytes(), b"\0", value.as_bytes()],
        )
    }

    /// Seals a column's value for one place: AES-256-GCM, nonce ‖ ciphertext ‖
    /// tag, with `place` as associated data.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; 12] = nrd_sim_base::random()?;
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
