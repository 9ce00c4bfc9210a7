//! The reference service: accounts, devices, orders, receipts.
//!
//! ```text
//!   device ─── POST /device/v1 ──▶ device/ ───┐
//!                                             ├──▶ store/ ──▶ SQLite or PostgreSQL, revocations.log
//!   browser ── pages/ ──▶ account.rs, login.rs ┘      │
//!                                                     └──▶ outbox/ ──▶ MQTT broker, event receiver
//! ```
//!
//! | file | what |
//! |---|---|
//! | `keys.rs` | the service's secrets and what they sign |
//! | `ca.rs` | a certificate authority of the service's own, for TLS |
//! | `host.rs` | time and randomness |
//! | `error.rs` | the service's errors |
//! | `worker.rs` | blocking work off the async threads; a panic becomes an error |
//! | `store/` | the database; every method is one atomic operation |
//! | `device/` | answers a device's requests |
//! | `account.rs` | operations of an account holder: devices, orders, consent |
//! | `order_rules.rs` | what each kind of order does here |
//! | `login.rs` | passwords, failed attempts, browser sessions, remembered computers |
//! | `maker_lists.rs` | the maker's status list and model list: read, and held against devices |
//! | `ration.rs` | costly work: so much at once, and a short queue |
//! | `audit.rs` | who did what to which device, for an operator |
//! | `events.rs` | security activity: the entries of an account |
//! | `security_events.rs` | the claims of security event tokens, for a receiver outside |
//! | `check.rs` | looks at folder, keys and database, and says what to mend |
//! | `metrics.rs` | metrics, and the comparison of clocks |
//! | `notify.rs` | wakes waiting devices and open pages |
//! | `pages/` | the web pages, and the device API over HTTP |
//! | `certificate/` | a certificate of sanitization, one page, as PDF |
//! | `desk/` | a returns desk: asks a device for a proof and judges it |
//! | `outbox/` | delivers orders to a broker, security events to a receiver |
//! | `admin_api.rs` | metrics and health, for an operator's tools |
//! | `server.rs` | runs it all over TLS |
//! | `connections.rs` | how many connections, and how long a client may take |
//! | `address.rs` | addresses of the network |
//!
//! The service revokes on its side *before* it issues an order, and answers
//! with an error when it cannot store: never with a false success.
//!
//! It may use `nrd-sim-forensics` (to judge receipts as any outsider would),
//! `nrd-agent` (the wire types), `nrd-agent-derive` (the words of enums) and
//! `nrd-sim-base`. It knows no simulated
//! device, no scenario and no living room: other pages are mounted beside its own
//! through [`pages::Neighbour`].
#![forbid(unsafe_code)]

pub mod account;
pub mod address;
pub mod admin_api;
pub mod audit;
pub mod ca;
pub mod certificate;
pub mod check;
pub mod connections;
pub mod desk;
pub mod device;
mod error;
pub mod events;
pub mod host;
mod keys;
pub mod login;
mod maker_lists;
pub mod metrics;
mod notify;
mod order_rules;
pub mod outbox;
pub mod pages;
mod ration;
mod security_events;
pub mod server;
pub mod store;
mod tls_client;
mod worker;

pub use error::{Error, Result};
pub use keys::{Index, Keys};
pub use worker::blocking;

use nrd_sim_base::hex;
use nrd_sim_base::sample::Samples;

use device::held::{self, Held};
use host::Host;
use keys::NewDelegation;
use maker_lists::MakerFiles;
use metrics::Metrics;
use notify::Notifier;
use nrd_agent::wire::{KeyVersion, LeaseTerms, TermBounds, TrustVersion};
use ration::Ration;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::{AccountId, Announcement, RootRow, Store};

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Terms of every grant and lease.
    pub terms: LeaseTerms,
    /// What devices hold those terms between, whoever signed them: the service
    /// root's word, in each new delegation.
    pub bounds: TermBounds,
    /// Seconds between check-ins of a device that does not wait.
    pub check_in_s: u32,
    /// Seconds between polls while a code is shown.
    pub poll_s: u16,
    /// How long a code lives, in seconds; at most 600.
    pub code_life_s: u64,
    /// How long an approved activation may stay unused, in seconds.
    pub unconfirmed_s: u64,
    /// Longest wait of a check-in, in seconds.
    pub wait_max_s: u16,
    /// A device at rest is noted as heard once in so many seconds.
    pub seen_every_s: u32,
}

impl Settings {
    /// Widens the bounds so far that the terms lie between them: for stories
    /// whose terms are their point. An operator's root would not.
    pub fn allow_own_terms(&mut self) {
        let LeaseTerms {
            renew_after_s: _,
            expires_after_s,
            max_boots,
            dead_man_s,
        } = self.terms;
        let b = &mut self.bounds;
        b.expires_min_s = b.expires_min_s.min(expires_after_s);
        b.expires_max_s = b.expires_max_s.max(expires_after_s);
        b.boots_min = b.boots_min.min(max_boots);
        // 0 is never, whatever the floor.
        if dead_man_s > 0 {
            b.dead_man_min_s = b.dead_man_min_s.min(dead_man_s);
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            terms: LeaseTerms {
                renew_after_s: 24 * 3600,
                expires_after_s: 30 * 24 * 3600,
                max_boots: 500,
                dead_man_s: 90 * 24 * 3600,
            },
            bounds: TermBounds {
                expires_min_s: 24 * 3600,
                expires_max_s: 60 * 24 * 3600,
                boots_min: 50,
                dead_man_min_s: 30 * 24 * 3600,
            },
            check_in_s: 3600,
            poll_s: 2,
            code_life_s: 600,
            unconfirmed_s: 24 * 3600,
            wait_max_s: 25,
            seen_every_s: 3600,
        }
    }
}

/// Where a service keeps its files and its database.
#[derive(Debug, Clone)]
pub struct ServicePaths {
    /// Its own folder: certificates, the revocation log, SQLite's database.
    pub dir: PathBuf,
    /// Key files; the same folder, or one that several processes share.
    pub keys: PathBuf,
    /// A PostgreSQL database that several processes share, `postgres://…`.
    pub database: Option<String>,
}

impl ServicePaths {
    /// Everything in one folder.
    pub fn folder(dir: &Path) -> ServicePaths {
        ServicePaths {
            dir: dir.to_owned(),
            keys: dir.to_owned(),
            database: None,
        }
    }
}

/// The service. Every method is synchronous and short; callers in an async
/// runtime use a blocking thread.
pub struct Service {
    /// The secrets.
    pub keys: Keys,
    /// The database.
    pub store: Store,
    /// The operator's settings.
    pub settings: Settings,
    pub(crate) notifier: Notifier,
    pub(crate) metrics: Metrics,
    /// Challenges of devices at rest.
    held: Held,
    /// Password checks.
    hashing: Ration<login::HashMemory>,
    /// The maker's lists.
    maker: MakerFiles,
    host: Box<dyn Host>,
    /// Seconds that tests have moved the clock.
    shift_s: AtomicU64,
}

/// How long until the revocation log is replayed again after a failure.
const REPLAY_AGAIN: Duration = Duration::from_secs(1);

/// Enough of an activation's id to find its lines in a log by.
pub(crate) fn short_id(id: &[u8; 16]) -> String {
    hex(&id[..4])
}

impl Service {
    /// Opens the service of a folder, or makes it at the first start.
    pub fn open(dir: &Path, settings: Settings) -> Result<Arc<Service>> {
        Service::open_on(&ServicePaths::folder(dir), settings)
    }

    /// Opens a service whose keys or database may be elsewhere.
    pub fn open_on(place: &ServicePaths, settings: Settings) -> Result<Arc<Service>> {
        Service::open_with(place, settings, host::System)
    }

    /// The same with time and randomness of `host`.
    pub fn open_with(
        place: &ServicePaths,
        settings: Settings,
        host: impl Host + 'static,
    ) -> Result<Arc<Service>> {
        for dir in [&place.dir, &place.keys] {
            std::fs::create_dir_all(dir).map_err(|e| Error::File(dir.clone(), e))?;
        }
        let keys = Keys::open(&place.keys)?;
        let store = match &place.database {
            Some(url) => Store::postgres(url, &place.dir)?,
            None => Store::open(&place.dir)?,
        };
        Service::assemble(keys, store, settings, Box::new(host))
    }

    /// A service that leaves nothing behind and takes time and randomness from
    /// `host`: for virtual worlds.
    pub fn in_memory(
        keys: Keys,
        settings: Settings,
        host: impl Host + 'static,
    ) -> Result<Arc<Service>> {
        Service::assemble(keys, Store::in_memory()?, settings, Box::new(host))
    }

    fn assemble(
        keys: Keys,
        store: Store,
        settings: Settings,
        host: Box<dyn Host>,
    ) -> Result<Arc<Service>> {
        store.belongs_to(&keys.owners())?;
        let metrics = Metrics::new(&store);
        let service = Arc::new(Service {
            keys,
            store,
            settings,
            notifier: Notifier::default(),
            metrics,
            held: Held::of(held::HALF),
            hashing: Ration::of_cores(),
            maker: MakerFiles::default(),
            host,
            shift_s: AtomicU64::new(0),
        });
        tracing::info!(database = service.store.database(), "service opened");
        if service.store.delegation()?.is_none() {
            // The first one; or the first in today's form, after a migration.
            service.delegate_after(service.store.newest_order_key()?)?;
        }
        let this = Arc::downgrade(&service);
        service.store.listen(move |what| {
            if let Some(service) = this.upgrade() {
                service.on_announcement(what);
            }
        });
        Ok(service)
    }

    /// Another process on this database, or this one, announced something;
    /// `None` when announcements may have been missed.
    fn on_announcement(self: Arc<Self>, what: Result<Option<Announcement>>) {
        match what {
            Ok(Some(Announcement::Device(activation))) => self.notifier.device(&activation),
            Ok(Some(Announcement::Page(account))) => self.notifier.page(account),
            // The outbox workers look by themselves.
            Ok(Some(Announcement::Outbox)) => {}
            Ok(Some(Announcement::Logs)) => self.look_after_logs(|service| {
                if service.store.look_for_missing_logs()? {
                    service.store.replay()?;
                }
                Ok(())
            }),
            // It may have been meant for anybody here.
            Err(e) => {
                tracing::error!(error = %e, "an announcement was not understood");
                self.notifier.everybody();
            }
            Ok(None) => {
                self.notifier.everybody();
                // The line also breaks when a backup is restored: what was
                // revoked since stays revoked.
                self.look_after_logs(|service| service.store.replay().map(drop));
            }
        }
    }

    /// Does `work` until it is done, on a thread of its own: whoever hears of it may
    /// not wait.
    fn look_after_logs(self: Arc<Self>, work: fn(&Service) -> Result<()>) {
        let this = Arc::downgrade(&self);
        std::thread::spawn(move || {
            // A database that has just come back may be busy.
            while let Some(service) = this.upgrade() {
                let Err(e) = work(&service) else {
                    return;
                };
                tracing::error!(error = %e, "the revocation log was not replayed; trying again");
                drop(service);
                std::thread::sleep(REPLAY_AGAIN);
            }
        });
    }

    /// Something on this account's pages changed.
    pub(crate) fn notify_page(&self, account: AccountId) {
        self.notifier.page(account);
        self.announce(Announcement::Page(account));
    }

    /// There is something for this activation's device.
    pub(crate) fn notify_device(&self, activation: &[u8; 16]) {
        self.notifier.device(activation);
        self.announce(Announcement::Device(*activation));
    }

    fn announce(&self, what: Announcement) {
        // The others find out at their next look.
        if let Err(e) = self.store.announce(what) {
            tracing::warn!(error = %e, "other processes were not told");
        }
    }

    /// Now, Unix seconds.
    pub fn now_s(&self) -> u64 {
        self.host.now_s() + self.shift_s.load(Ordering::SeqCst)
    }

    /// N random bytes of the host.
    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.host.fill(&mut out)?;
        Ok(out)
    }

    /// Moves the service's clock ahead, for tests and stories.
    pub fn advance_s(&self, s: u64) {
        self.shift_s.fetch_add(s, Ordering::SeqCst);
    }

    /// Puts a new order key in force and signs waiting orders again. Returns
    /// its version.
    ///
    /// # Errors
    /// Also when the newest root's file is not here.
    pub fn rotate_order_key(&self) -> Result<u32> {
        self.rotate_order_key_with(|| ())
    }

    /// The same; calls `between` after each batch of orders but the last was signed
    /// and stored, while nothing is held.
    ///
    /// # Errors
    /// Also when the newest root's file is not here.
    pub fn rotate_order_key_with(&self, between: impl FnMut()) -> Result<u32> {
        let known = self.store.delegation()?.map_or(0, |d| d.order_key);
        let version = self.put_in_force_after(known)?;
        self.sign_waiting_with(between)?;
        Ok(version)
    }

    /// Puts a new service root in force, named by the one before it, and a new
    /// order key under it. Returns the root's version. Devices follow by
    /// themselves, a step a reply.
    ///
    /// # Errors
    /// Also when the file of the root in force is not here: it signs the change.
    pub fn replace_root(&self) -> Result<u32> {
        let known = self.store.roots()?.last().map_or(0, |r| r.version);
        let version = known
            .checked_add(1)
            .ok_or_else(|| Error::Internal("no root version is left".to_owned()))?;
        // The key is on disk before anything names it.
        let (public, change) = self.keys.next_root(version)?;
        let root = RootRow {
            version,
            public,
            change,
        };
        let now = self.now_s();
        let sign = account::signer(&self.keys);
        let version =
            self.store
                .replace_root(&root, &|v, key| self.delegation(v, key), now, &sign)?;
        self.sign_waiting_again()?;
        Ok(version)
    }

    /// Puts a delegation in force after that with this order key.
    fn delegate_after(&self, known: u32) -> Result<u32> {
        let version = self.put_in_force_after(known)?;
        self.sign_waiting_again()?;
        Ok(version)
    }

    fn put_in_force_after(&self, known: u32) -> Result<u32> {
        let now = self.now_s();
        let sign = account::signer(&self.keys);
        self.store
            .delegate(known, &|v, key| self.delegation(v, key), now, &sign)
    }

    /// Signs every waiting order again whose key was retired, few at a time. Where it
    /// does not get there, what a device asks for is signed when it asks.
    pub fn sign_waiting_again(&self) -> Result<()> {
        self.sign_waiting_with(|| ())
    }

    fn sign_waiting_with(&self, mut between: impl FnMut()) -> Result<()> {
        let sign = account::signer(&self.keys);
        let mut after = Vec::new();
        while let Some(last) = self.store.sign_waiting(&after, self.now_s(), &sign)? {
            after = last.to_vec();
            between();
        }
        Ok(())
    }

    /// The order that the device of this activation should hear next, under the order
    /// key in force.
    pub(crate) fn next_order(&self, id: &[u8; 16]) -> Result<Option<store::OrderRow>> {
        let next = self.store.next_order(id)?;
        if !next.as_ref().is_some_and(|order| order.retired_key) {
            return Ok(next);
        }
        let sign = account::signer(&self.keys);
        self.store.sign_waiting_of(id, self.now_s(), &sign)?;
        self.store.next_order(id)
    }

    fn delegation(&self, version: TrustVersion, order_key: u32) -> Result<Vec<u8>> {
        self.keys.delegation(&NewDelegation {
            version,
            order_key: KeyVersion(order_key),
            // The floor is what trusted time was a day ago: a device's own clock
            // may run late.
            time_floor: self.now_s() - 86_400,
            bounds: self.settings.bounds,
        })
    }

    /// Shortens the revocation log.
    ///
    /// # Errors
    /// It stays as it was.
    pub fn shorten_revocations(&self) -> Result<()> {
        let lines = self.store.shorten_revocations(self.now_s())?;
        if lines > 0 {
            tracing::info!(lines, "the revocation log was shortened");
        }
        Ok(())
    }

    /// Adds the sample accounts that are not there yet.
    pub fn add_samples(&self, samples: &Samples) -> Result<()> {
        for s in &samples.accounts {
            self.add_account(s)?;
        }
        Ok(())
    }
}
