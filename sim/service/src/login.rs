//! Passwords, failed attempts, browser sessions, remembered computers.

use super::address::network;
use super::audit::{self, Origin};
use super::events::EventKind;
use super::keys::Index;
use super::store::{AccountId, Recall, Sealed, SessionRow, Throttle};
use super::{Error, Result, Service};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, PasswordHasher as _, Version};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::sample::Sample;
use nrd_sim_base::{hex, unhex};
use subtle::ConstantTimeEq as _;

/// Wrong passwords of an account, or from a known browser, before the next has to
/// wait.
const FREE_FAILURES: u32 = 5;
/// The longest such wait, in seconds.
const LONGEST_WAIT_S: u64 = 15 * 60;
/// Wrong passwords from one address before everybody unknown there has to wait:
/// many people may stand behind it.
const FREE_AT_ADDRESS: u32 = 50;
/// The longest wait of an address, in seconds.
const LONGEST_AT_ADDRESS_S: u64 = 30;
/// A browser session ends after this long without a request, in seconds.
const SESSION_IDLE_S: u64 = 30 * 60;
/// A browser session ends after this long, whatever happens in it, in seconds.
const SESSION_LONGEST_S: u64 = 12 * 3600;

/// The hash of no account's password, verified where an e-mail is unknown, so that
/// an unknown e-mail takes as long as a wrong password.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$\
                      WJ3hE1Vnq3ZjYcVQm1l9yGZ5gXc2v1T0mX1r3m0E4bE";

/// Where a password is hashed: 19 MiB.
#[derive(Default)]
pub(super) struct HashMemory(Vec<Block>);

/// Whether `stored` is the hash of this password.
fn is_password(password: &str, stored: &str, memory: &mut HashMemory) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else {
        return false;
    };
    let version = stored
        .version
        .map_or(Ok(Version::default()), Version::try_from);
    let (Some(salt), Some(expected), Ok(algorithm), Ok(version), Ok(params)) = (
        stored.salt.as_ref(),
        stored.hash.as_ref(),
        Algorithm::try_from(stored.algorithm.as_str()),
        version,
        Params::try_from(&stored),
    ) else {
        return false;
    };
    memory.0.resize(params.block_count(), Block::default());
    let mut hash = vec![0; expected.len()];
    let hashed = Argon2::new(algorithm, version, params).hash_password_into_with_memory(
        password.as_bytes(),
        salt,
        &mut hash,
        &mut memory.0,
    );
    // What is left of a password says something of it.
    memory.0.fill(Block::default());
    hashed.is_ok() && bool::from(hash.ct_eq(expected.as_bytes()))
}

/// Why a sign-in failed.
#[derive(Debug)]
pub enum LoginError {
    /// E-mail or password is wrong; which one is not said.
    Wrong,
    /// Too many failures: wait this many seconds.
    Wait(u64),
    /// So many passwords are being checked that this one would wait for long.
    Busy,
    /// The service cannot tell now.
    Service(Error),
}

impl From<Error> for LoginError {
    fn from(e: Error) -> Self {
        LoginError::Service(e)
    }
}

/// A browser that has just been signed in.
pub struct SignedIn {
    /// The session cookie's value.
    pub session: String,
    /// The "remember me" cookie's value, if the box was ticked.
    pub remember: Option<String>,
}

/// What a "remember me" cookie gave.
pub enum Remembered {
    /// A new session, and the cookie's new value unless it stays.
    SignedIn(SignedIn),
    /// A copy of it exists: the computer was signed out.
    Stolen,
    /// Nothing.
    Unknown,
}

impl Service {
    /// Adds an account unless its e-mail is known.
    pub(super) fn add_account(&self, s: &Sample) -> Result<()> {
        let index = self.email_index(&s.email);
        if self.store.account_by_email(&index)?.is_some() {
            return Ok(());
        }
        let password = Argon2::default()
            .hash_password(s.password.as_bytes())
            .map_err(|_| Error::Random)?
            .to_string();
        self.store_account(s, &password)?;
        Ok(())
    }

    /// Adds an account with which nobody can sign in at the pages: for virtual
    /// worlds, where hashing thousands of passwords would take longer than all
    /// the rest.
    pub fn add_account_without_password(&self, s: &Sample) -> Result<AccountId> {
        self.store_account(s, "*")
    }

    fn store_account(&self, s: &Sample, password: &str) -> Result<AccountId> {
        let index = self.email_index(&s.email);
        let policy = self.store.policy_version()?;
        self.store.add_account(&index, password, policy, |id| {
            let seal = |column, text: &str| self.keys.seal(&place(id, column), text.as_bytes());
            Ok(Sealed {
                name: seal("name", &s.name)?,
                email: seal("email", &s.email)?,
                payment: seal("payment", &s.payment)?,
                address: seal("address", &s.address)?,
                telephone: seal("telephone", &s.telephone)?,
                profiles: seal("profiles", &s.profiles.join("\n"))?,
            })
        })
    }

    fn email_index(&self, email: &str) -> [u8; 32] {
        self.keys.index(Index::Email, &email.trim().to_lowercase())
    }

    /// Opens a personal column.
    pub(super) fn personal(&self, id: AccountId, column: &str, sealed: &[u8]) -> Result<String> {
        self.keys.open_column(&place(id, column), sealed)
    }

    /// Checks a password from a browser that nothing is known of.
    pub fn check_password(
        &self,
        email: &str,
        password: &str,
        address: &str,
    ) -> std::result::Result<AccountId, LoginError> {
        self.check_password_of(email, password, address, None)
    }

    /// Checks a password; slows guessing down, by account and by address. A
    /// browser that was signed in to this account before (`known`) counts for
    /// itself alone: whoever guesses elsewhere cannot lock it out.
    pub fn check_password_of(
        &self,
        email: &str,
        password: &str,
        address: &str,
        known: Option<&str>,
    ) -> std::result::Result<AccountId, LoginError> {
        let index = self.email_index(email);
        let now = self.now_s();
        let throttles = match known.filter(|k| self.knows_browser(email, k)) {
            Some(known) => vec![Throttle {
                scope: self.keys.index(Index::KnownBrowserTries, known),
                free: FREE_FAILURES,
                longest_s: LONGEST_WAIT_S,
            }],
            // The address first: while it waits, no e-mail address that it makes up
            // is remembered.
            None => vec![
                Throttle {
                    scope: self.keys.index(Index::LoginAddress, &network(address)),
                    free: FREE_AT_ADDRESS,
                    longest_s: LONGEST_AT_ADDRESS_S,
                },
                Throttle {
                    scope: index,
                    free: FREE_FAILURES,
                    longest_s: LONGEST_WAIT_S,
                },
            ],
        };
        if let Err(s) = self.store.reserve_try(&throttles, now)? {
            return Err(LoginError::Wait(s));
        }
        let account = self.store.account_by_email(&index)?;
        let stored = account.as_ref().map_or(DUMMY_HASH, |a| a.password.as_str());
        let verify = |memory: &mut HashMemory| is_password(password, stored, memory);
        let Some(good) = self.hashing.run(verify) else {
            // Nothing was tried.
            self.store.give_try_back(&throttles, now)?;
            return Err(LoginError::Busy);
        };
        match account {
            Some(a) if good => {
                self.store.give_try_back(&throttles, now)?;
                Ok(a.id)
            }
            account => {
                if let Some(a) = account {
                    self.note(
                        a.id,
                        EventKind::WrongPassword,
                        "Website",
                        Some(address.into()),
                    )?;
                }
                Err(LoginError::Wrong)
            }
        }
    }

    /// What marks a browser as known to the account of `email` from now on: random
    /// digits and their digest. It opens nothing.
    pub fn mark_browser(&self, email: &str) -> Result<String> {
        let nonce = hex(&self.random::<16>()?);
        let digest = self.browser_digest(email, &nonce);
        Ok(nonce + &digest)
    }

    fn knows_browser(&self, email: &str, mark: &str) -> bool {
        mark.split_at_checked(32).is_some_and(|(nonce, digest)| {
            let expected = self.browser_digest(email, nonce);
            bool::from(expected.as_bytes().ct_eq(digest.as_bytes()))
        })
    }

    fn browser_digest(&self, email: &str, nonce: &str) -> String {
        let of = format!("{nonce}\0{}", email.trim().to_lowercase());
        hex(&self.keys.index(Index::KnownBrowser, &of))
    }

    /// How many passwords were checked at once so far, at most.
    pub fn most_hashes_at_once(&self) -> usize {
        self.hashing.most()
    }

    /// Starts a session; remembers the computer if the box was ticked.
    pub fn sign_in(
        &self,
        account: AccountId,
        remember: bool,
        browser: &str,
        address: &str,
    ) -> Result<SignedIn> {
        let now = self.now_s();
        let mut cookie = None;
        let mut computer = None;
        if remember {
            let series: [u8; 16] = self.random()?;
            let token: [u8; 32] = self.random()?;
            let digest = RingCrypto::sha256(&token);
            self.store
                .add_computer(&series, account, &digest, browser, now)?;
            cookie = Some(hex(&series) + &hex(&token));
            computer = Some(series);
        }
        let session = self.start_session(account, computer)?;
        let from = Origin {
            address,
            browser: audit::browser(&session),
        };
        self.note(account, EventKind::SignedIn, browser, Some(from))?;
        Ok(SignedIn {
            session,
            remember: cookie,
        })
    }

    fn start_session(&self, account: AccountId, computer: Option<[u8; 16]>) -> Result<String> {
        let id: [u8; 32] = self.random()?;
        let csrf = hex(&self.random::<16>()?);
        let digest = RingCrypto::sha256(&id);
        let computer = computer.as_ref().map(|c| c.as_slice());
        self.store
            .add_session(&digest, account, &csrf, computer, self.now_s())?;
        Ok(hex(&id))
    }

    /// The session behind a cookie. `by_hand`: a person asks, so it counts as
    /// use; an open page that renews itself does not keep a session alive.
    pub fn session(&self, cookie: &str, by_hand: bool) -> Result<Option<SessionRow>> {
        let Some(id) = unhex::<32>(cookie) else {
            return Ok(None);
        };
        let digest = RingCrypto::sha256(&id);
        self.store.session(
            &digest,
            self.now_s(),
            SESSION_IDLE_S,
            SESSION_LONGEST_S,
            by_hand,
        )
    }

    /// Whether the session behind a cookie is still good.
    pub fn session_lasts(&self, cookie: &str) -> Result<bool> {
        let Some(id) = unhex::<32>(cookie) else {
            return Ok(false);
        };
        let digest = RingCrypto::sha256(&id);
        self.store
            .session_lasts(&digest, self.now_s(), SESSION_IDLE_S, SESSION_LONGEST_S)
    }

    /// Signs a browser out and forgets the computer. Its open pages learn it.
    pub fn sign_out(&self, cookie: &str) -> Result<()> {
        let Some(id) = unhex::<32>(cookie) else {
            return Ok(());
        };
        if let Some(account) = self.store.end_session(&RingCrypto::sha256(&id))? {
            self.notify_page(account);
        }
        Ok(())
    }

    /// Deletes what is over and old.
    ///
    /// # Errors
    /// What was deleted before the error stays deleted.
    pub fn purge(&self) -> Result<()> {
        self.store
            .purge(self.now_s(), SESSION_IDLE_S, SESSION_LONGEST_S)
    }

    /// Signs in by a "remember me" cookie: series, then a token that is
    /// replaced at each use. The one before stays good until its successor is
    /// used, because the answer with the successor may be lost: the same successor
    /// is given again. Any older one means that a copy exists.
    pub fn recall(&self, cookie: &str, address: &str) -> Result<Remembered> {
        let Some((series, token)) = cookie.split_at_checked(32) else {
            return Ok(Remembered::Unknown);
        };
        let (Some(series), Some(token)) = (unhex::<16>(series), unhex::<32>(token)) else {
            return Ok(Remembered::Unknown);
        };
        let next = self.keys.index(Index::NextRememberToken, cookie);
        let found = self.store.recall(
            &series,
            &RingCrypto::sha256(&token),
            &RingCrypto::sha256(&next),
            self.now_s(),
        )?;
        Ok(match found {
            Recall::Good(account) | Recall::Late(account) => Remembered::SignedIn(SignedIn {
                session: self.start_session(account, Some(series))?,
                remember: Some(hex(&series) + &hex(&next)),
            }),
            Recall::Stolen(account) => {
                self.note(
                    account,
                    EventKind::ComputerStolen,
                    "Website",
                    Some(address.into()),
                )?;
                Remembered::Stolen
            }
            Recall::Unknown => Remembered::Unknown,
        })
    }
}

fn place(id: AccountId, column: &str) -> String {
    format!("accounts.{column}.{}", id.0)
}
