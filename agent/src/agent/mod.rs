//! The driver: carries out on the hardware what the pure rules decide, and
//! persists *before* it acknowledges.
//!
//! | file | what |
//! |---|---|
//! | `run.rs` | the run loop: what a host does next, and when; retries |
//! | `boot.rs` | from power-on to a known state |
//! | `activate.rs` | starting, cancelling, storing a grant |
//! | `exchange.rs` | the next request, and what a reply changes |
//! | `orders.rs` | signed orders over any channel, sign-out |
//! | `cache.rs` | account data: put, get, remove, forget |
//! | `logs.rs` | journal and vault |
//! | `wipe.rs` | the five phases |
//! | `receipt.rs` | receipts and proofs |
//! | `fill.rs` | the deep proof |
//!
//! Firmware calls [`Agent::poll`] in a loop, does what it says (go on, post a
//! request, sleep, restart), hands replies to [`Agent::handle_reply`], and shows
//! what [`Agent::status`] says. [`Agent::step`], [`Agent::poll_request`] and
//! [`Agent::next_due_ms`] are the layer below, for tests and for hosts that must
//! split the work.

mod activate;
mod boot;
mod cache;
mod exchange;
mod fill;
mod logs;
mod orders;
mod receipt;
pub mod run;
mod wipe;

use crate::error::Error;
use crate::lease::{LeaseStatus, Now};
use crate::log::{Entry, Log, LogGeometryError, LogKeys, MAX_RESERVE, Progress, RECORD_OVERHEAD};
use crate::slot::SlotContent;
use crate::state::{Activation, PersistedState, Snapshot, State, Tombstone};
use crate::wire::codec::{Bounded, Wire};
use crate::wire::{Delegation, DeviceId, Generation, LockReason, Series, TokenSecret};
use exchange::Exchange;
use heapless::String;
use logs::{LogId, journal_key};
use nrd_hal::{Clock, DeviceIdentity, Platform, Region};
use run::Retry;
use zeroize::{Zeroize as _, Zeroizing};

/// Version of this agent: major, minor, patch.
pub const AGENT_VERSION: [u8; 3] = [0, 1, 0];

/// Powered seconds are charged to the journal this far ahead of use.
pub const CHARGE_S: u32 = 900;

/// Settings that a product fixes in its firmware.
///
/// ```
/// use nrd_agent::Config;
///
/// // include_bytes!("service-root.pub") in a product.
/// const SERVICE_ROOT: [u8; 32] = [0x3C; 32];
///
/// let config = Config {
///     service_root: SERVICE_ROOT,
///     factory_epoch: 0, // what the counter showed at the end of the line
///     wait_s: 50,       // shorter than the time-out of the network stack
/// };
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// The service's root public key (Ed25519), pinned by the firmware.
    pub service_root: [u8; 32],
    /// The counter's value as the device left the factory.
    pub factory_epoch: u64,
    /// Longest time that a check-in may wait for an order, in seconds; 0 for firmware
    /// that keeps no connection open.
    pub wait_s: u16,
}

/// Memory lent to the agent. Sizes: a table entry (4 B) for each logical
/// sector (at most 32 of a region), an index entry (16 B) for each record that
/// may live at once (the journal has at most [`JOURNAL_RECORDS`]), and a scratch buffer of at least
/// [`MIN_SCRATCH`] bytes plus the longest value.
///
/// Firmware without an allocator lends statics, or a block of its stack:
///
/// ```
/// use nrd_agent::agent::{JOURNAL_RECORDS, MIN_SCRATCH};
/// use nrd_agent::log::Entry;
/// use nrd_agent::{Agent, Memory};
/// # use nrd_agent_testkit::{StubService, TestPlatform};
/// # let service = StubService::new(1);
/// # let port = TestPlatform::builder().build(&service);
/// # let config = service.config();
///
/// const VALUES: usize = 40; // cached at once
/// const LONGEST: usize = 256; // bytes of a value
///
/// let mut journal_table = [0; 4]; // a journal of 4 sectors
/// let mut vault_table = [0; 16];
/// let mut journal_index = [Entry::default(); JOURNAL_RECORDS];
/// let mut vault_index = [Entry::default(); VALUES + 2];
/// let mut scratch = [0; MIN_SCRATCH + LONGEST];
/// let memory = Memory {
///     journal_table: &mut journal_table,
///     journal_index: &mut journal_index,
///     vault_table: &mut vault_table,
///     vault_index: &mut vault_index,
///     scratch: &mut scratch,
/// };
/// assert!(Agent::new(port, config, memory).is_ok());
/// ```
pub struct Memory<'m> {
    /// One entry per logical sector of the journal.
    pub journal_table: &'m mut [u32],
    /// At least [`JOURNAL_RECORDS`] entries.
    pub journal_index: &'m mut [Entry],
    /// One entry per logical sector of the vault.
    pub vault_table: &'m mut [u32],
    /// One entry per cached record, and two for the session.
    pub vault_index: &'m mut [Entry],
    /// Work buffer.
    pub scratch: &'m mut [u8],
}

/// Most records the journal ever holds at once.
pub const JOURNAL_RECORDS: usize = 12;
/// Smallest scratch buffer, in bytes.
pub const MIN_SCRATCH: usize = 1024;
/// Room in the journal kept for a tombstone, in bytes before padding: the
/// longest, with what a record adds to it.
const TOMBSTONE_ROOM: u32 = 192 + RECORD_OVERHEAD as u32;

const _: () = assert!(TOMBSTONE_ROOM <= MAX_RESERVE);
const _: () = assert!(
    Tombstone::MAX_LEN + RECORD_OVERHEAD <= TOMBSTONE_ROOM as usize,
    "a full journal must still take the longest tombstone: raise TOMBSTONE_ROOM"
);
// The journal's records: what the log pins, snapshot, tombstone, delegation,
// receipts.
const _: () = assert!(
    1 + 3 + RECEIPTS as usize <= JOURNAL_RECORDS,
    "every journal record needs an index entry: raise JOURNAL_RECORDS"
);
// A record is sealed in the scratch buffer, padded to at most MAX_UNIT bytes.
const _: () = assert!(
    logs::LONGEST_RECORD + RECORD_OVERHEAD + 256 <= MIN_SCRATCH,
    "the journal's longest record must fit into the smallest scratch buffer"
);

/// Why an agent could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuildError {
    /// The journal's flash or table.
    Journal(LogGeometryError),
    /// The vault's flash or table.
    Vault(LogGeometryError),
    /// An index or the scratch buffer is too small.
    Memory,
    /// The device id is not 1 to 32 bytes of printable ASCII.
    DeviceId,
}

/// The result of [`Agent::step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do until time passes, a call or a reply.
    Idle,
    /// Did one bounded piece of work: call again.
    Working,
    /// A wipe just ended: restart the platform now if you can, so that copies
    /// of keys in libraries' memory go as well. Harmless to ignore.
    ResetAdvised,
}

/// The device's state, for its screen.
///
/// ```
/// use nrd_agent::{State, Status};
///
/// /// The line at the top of a screen.
/// fn headline(status: &Status) -> String {
///     match (status.state, &status.code) {
///         (State::Activating, Some((code, _))) => format!("Enter {code} on the website"),
///         (State::Active, _) => "Signed in".into(),
///         (State::Locked(reason), _) => format!("Locked: {reason:?}"),
///         (State::Wiping, _) => match status.wipe {
///             Some((done, all)) => format!("Erasing, {done} of {all}"),
///             None => "Erasing".into(),
///         },
///         (State::WipeFailed, _) => "Do not hand this device on".into(),
///         (_, _) => "Signed out".into(),
///     }
/// }
///
/// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
/// # let mut service = StubService::new(1);
/// # let device = TestPlatform::builder().build(&service);
/// # let mut memory = TestMemory::default();
/// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// # service.serve(&mut agent).unwrap();
/// # service.pending_polls = 1;
/// agent.start_activation().unwrap();
/// # service.serve(&mut agent).unwrap();
/// assert_eq!(headline(&agent.status()), "Enter BCDFGHJK on the website");
/// # device.clock.advance_s(1);
/// # service.serve(&mut agent).unwrap();
/// assert_eq!(headline(&agent.status()), "Signed in");
/// agent.deactivate().unwrap();
/// assert_eq!(headline(&agent.status()), "Erasing, 0 of 16");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The lease's state, while an activation is held.
    pub lease: Option<LeaseStatus>,
    /// The code to show while activating, and its pictogram (0 to 15).
    pub code: Option<(String<12>, u8)>,
    /// Progress of a wipe: sectors done and in all.
    pub wipe: Option<(u32, u32)>,
    /// Progress of a deep proof: bytes done and in all.
    pub fill: Option<(u32, u32)>,
    /// The policy version consented to.
    pub policy: Option<u32>,
    /// Receipts not yet delivered.
    pub receipts: u8,
    /// The token's generation, while the session is open; goes up with each
    /// renewal.
    pub generation: Option<u32>,
    /// The counter is worn out: this device will not activate again.
    pub worn_out: bool,
    /// What failed last in [`Agent::poll`] and has not succeeded since: a piece
    /// of the agent's own work, or else the conversation with the service. A
    /// network that is down is no fault of the device and is not shown here.
    pub fault: Option<Error>,
}

/// Phases of the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BootPhase {
    Journal,
    Load,
    Vault,
    Ready,
}

/// The session's token, in RAM while the device is on.
#[derive(Wire)]
struct Session {
    series: Series,
    generation: Generation,
    token: TokenSecret,
}

/// Every key in one block, zeroized together.
struct Keys {
    journal: LogKeys,
    /// Key of the slots' own check.
    slot: Zeroizing<[u8; 32]>,
    vault: LogKeys,
    content: SlotContent,
    session: Option<Session>,
}

impl Keys {
    /// Forgets everything that opens account data.
    fn kill(&mut self) {
        self.vault.zeroize();
        self.content.zeroize();
        self.session = None;
    }
}

/// The agent. Owns its platform.
///
/// A boot makes one, a reboot makes another, and nothing but the platform is
/// carried over:
///
/// ```
/// use nrd_agent::{Agent, Class, State};
/// use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
///
/// let mut service = StubService::new(1);
/// let device = TestPlatform::builder().build(&service);
/// let mut memory = TestMemory::default();
/// let mut agent = Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// service.serve(&mut agent).unwrap(); // `Agent::poll` until it waits
/// agent.start_activation().unwrap();
/// service.serve(&mut agent).unwrap();
/// agent.put(Class::Payment, 1, b"card ending 4242").unwrap();
///
/// device.reboot();
/// let mut memory = TestMemory::default();
/// let mut agent = Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// service.serve(&mut agent).unwrap();
/// assert_eq!(agent.state(), State::Active);
/// let mut value = [0; 64];
/// let n = agent.get(Class::Payment, 1, &mut value).unwrap();
/// assert_eq!(&value[..n], b"card ending 4242");
/// ```
pub struct Agent<'m, P: Platform> {
    boot: BootPhase,
    /// The journal, or the slot it names, is unreadable.
    lost: bool,
    reset_advised: bool,
    /// Undelivered receipts in the journal: a bit for each place.
    receipts: u8,
    wipe_tries: u8,
    /// Blocks that a resumed wipe still erases twice, see `wipe.rs`.
    double_erase_left: u32,
    /// Powered seconds of the device's life when this boot began.
    base_s: u32,
    scratch: &'m mut [u8],
    exchange: Exchange,
    retry: Retry,
    tombstone: Option<Tombstone>,
    snapshot: Snapshot,
    journal: Log<'m>,
    vault: Log<'m>,
    keys: Keys,
    trust: Option<Delegation>,
    config: Config,
    device_id: DeviceId,
    pending_grant: Option<activate::PendingGrant>,
    /// A deep proof under way.
    fill_proof: Option<fill::FillProof<<P::Crypto as nrd_hal::Crypto>::Sha256>>,
    platform: P,
}

/// Ids of the journal's records (class 0).
mod id {
    pub(super) const SNAPSHOT: u16 = 1;
    pub(super) const TOMBSTONE: u16 = 2;
    pub(super) const TRUST: u16 = 3;
    /// Four receipts.
    pub(super) const RECEIPT: u16 = 16;
}

/// Number of undelivered receipts that are kept.
const RECEIPTS: u16 = 4;

// A receipt's place is its number, modulo: numbers wrap at 2¹⁶ without a gap
// only for a power of two. `Agent::receipts` has a bit for each place.
const _: () = assert!(RECEIPTS.is_power_of_two() && RECEIPTS as u32 <= u8::BITS);
const _: () = assert!(id::SNAPSHOT < id::TOMBSTONE && id::TOMBSTONE < id::TRUST);
const _: () = assert!(id::TRUST < id::RECEIPT && id::RECEIPT <= u16::MAX - RECEIPTS);

impl<'m, P: Platform> Agent<'m, P> {
    /// Builds the agent. Reads nothing yet: call [`Agent::step`].
    pub fn new(mut platform: P, config: Config, memory: Memory<'m>) -> Result<Self, BuildError> {
        let parts = platform.parts();
        let device_id = DeviceId::new(parts.identity.device_id()).ok_or(BuildError::DeviceId)?;
        let small = memory.journal_index.len() < JOURNAL_RECORDS
            || memory.vault_index.len() < 2
            || memory.scratch.len() < MIN_SCRATCH;
        if small {
            return Err(BuildError::Memory);
        }
        let journal = Log::new(
            parts.journal.geometry(),
            memory.journal_table,
            memory.journal_index,
            TOMBSTONE_ROOM,
        )
        .map_err(BuildError::Journal)?;
        let vault = Log::new(
            parts.vault.geometry(),
            memory.vault_table,
            memory.vault_index,
            0,
        )
        .map_err(BuildError::Vault)?;
        Ok(Agent {
            platform,
            config,
            device_id,
            journal,
            vault,
            scratch: memory.scratch,
            keys: Keys {
                journal: LogKeys::NONE,
                slot: Zeroizing::new([0; 32]),
                vault: LogKeys::NONE,
                content: SlotContent::BLANK,
                session: None,
            },
            boot: BootPhase::Journal,
            snapshot: Snapshot::fresh(0),
            tombstone: None,
            trust: None,
            lost: false,
            base_s: 0,
            exchange: Exchange::default(),
            retry: Retry::default(),
            pending_grant: None,
            wipe_tries: 0,
            double_erase_left: 0,
            receipts: 0,
            reset_advised: false,
            fill_proof: None,
        })
    }

    /// The platform, for firmware that drives its parts beside the agent.
    pub fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    /// The device id.
    pub fn device_id(&self) -> &DeviceId {
        &self.device_id
    }

    /// The newest time that is known, in Unix seconds: the platform's clock, or the
    /// newest time that the service's keys signed if the clock is older or there
    /// is none; 0 when neither is known.
    pub fn signed_time(&mut self) -> u64 {
        let wall_s = self.platform.parts().clock.wall_s();
        wall_s.unwrap_or(0).max(self.snapshot.time_floor)
    }

    /// Does one bounded piece of pending work: at most one erase block, one
    /// sector's copy, or a few programs. After an error nothing is lost; call
    /// again.
    ///
    /// The layer below [`Agent::poll`], which is the run loop and decides how
    /// often failed work is tried again.
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.boot != BootPhase::Ready {
            self.boot_step()?;
            if self.boot == BootPhase::Ready {
                self.spread_if_asked();
            }
        } else if core::mem::take(&mut self.reset_advised) {
            return Ok(Step::ResetAdvised);
        } else if self.tombstone.is_some() {
            self.wipe_step()?;
        } else if self.pending_grant.is_some() {
            self.store_grant_step()?;
        } else {
            return self.step_at_rest();
        }
        Ok(Step::Working)
    }

    /// A step of a device that neither boots nor wipes nor stores a grant.
    fn step_at_rest(&mut self) -> Result<Step, Error> {
        if !self.lost {
            self.charge()?;
            if self.journal.needs_step() && self.log_step(LogId::Journal)? == Progress::More {
                return Ok(Step::Working);
            }
            if self.lease_status() == Some(LeaseStatus::DeadMan) {
                self.begin_wipe(crate::wire::WipeReason::DeadMan, None);
                return Ok(Step::Working);
            }
        }
        if self.fill_goes_on() {
            self.fill_step();
            return Ok(Step::Working);
        }
        if self.keys.vault.are_set()
            && self.vault.needs_step()
            && self.log_step(LogId::Vault)? == Progress::More
        {
            return Ok(Step::Working);
        }
        Ok(Step::Idle)
    }

    /// The state now.
    pub fn state(&mut self) -> State {
        if self.boot != BootPhase::Ready {
            return State::Booting;
        }
        if self.tombstone.is_some() {
            return State::Wiping;
        }
        if self.lost {
            return State::Locked(LockReason::JournalLost);
        }
        match &self.snapshot.state {
            PersistedState::Clean => State::Clean,
            PersistedState::Failed => State::WipeFailed,
            PersistedState::Activating { .. } => State::Activating,
            PersistedState::SignedOut { .. } => State::SignedOut,
            PersistedState::Active(a) => match (a.lock, self.lease_status()) {
                (Some(reason), _) => State::Locked(reason),
                (None, Some(LeaseStatus::Open { .. })) => State::Active,
                (None, _) => State::Locked(LockReason::LeaseExpired),
            },
        }
    }

    /// The device's state, for its screen.
    pub fn status(&mut self) -> Status {
        let state = self.state();
        let policy = self.activation().map(|a| a.policy.0);
        Status {
            state,
            lease: self.lease_status(),
            code: self.exchange.code(),
            wipe: self
                .tombstone
                .as_ref()
                .map(|t| (t.sectors.erased + t.sectors.failed, t.sectors.total)),
            fill: self.fill_progress(),
            policy,
            receipts: self.receipts.count_ones() as u8,
            generation: self.keys.session.as_ref().map(|s| s.generation.0),
            worn_out: self.snapshot.worn_out,
            fault: self.retry.fault(),
        }
    }

    /// Forgets everything that opens account data, and what a call left behind.
    fn forget_secrets(&mut self) {
        self.keys.kill();
        self.scratch.zeroize();
    }

    fn activation(&self) -> Option<&Activation> {
        match &self.snapshot.state {
            PersistedState::Active(a) => Some(a),
            _ => None,
        }
    }

    /// Powered seconds of the device's life.
    fn powered_s(&mut self) -> u32 {
        // More than 136 years count as that.
        let up_s = u32::try_from(self.uptime_ms() / 1000).unwrap_or(u32::MAX);
        self.base_s.saturating_add(up_s)
    }

    fn now(&mut self) -> Now {
        let powered_s = self.powered_s();
        let wall = self.platform.parts().clock.wall_s();
        Now {
            powered_s,
            boot: self.snapshot.boots,
            wall_s: wall.filter(|&w| w >= self.snapshot.time_floor),
        }
    }

    fn lease_status(&mut self) -> Option<LeaseStatus> {
        let now = self.now();
        // A consent lock holds the dead-man: the service waits for a person.
        let a = self.activation()?;
        match a.lease.status(now) {
            LeaseStatus::DeadMan if a.lock == Some(LockReason::ConsentDue) => {
                Some(LeaseStatus::Expired {
                    dead_man_in_s: None,
                })
            }
            s => Some(s),
        }
    }

    /// Charges powered time to the journal before it is used.
    fn charge(&mut self) -> Result<(), Error> {
        if self.powered_s() < self.snapshot.charged_s {
            return Ok(());
        }
        let mut next = self.snapshot;
        next.charged_s = self.powered_s().saturating_add(CHARGE_S);
        self.commit(next)
    }

    /// Persists `next` and only then makes it the snapshot in force.
    fn commit(&mut self, mut next: Snapshot) -> Result<(), Error> {
        if self.exchange.was_answered() {
            next.unanswered = 0;
        }
        let key = journal_key(id::SNAPSHOT);
        self.store(LogId::Journal, key, &mut next)?;
        // Receipts dropped to make room for this record are counted in the next
        // one: this one was encoded before.
        let dropped = self.snapshot.receipts_dropped;
        self.snapshot = next;
        self.snapshot.receipts_dropped = self.snapshot.receipts_dropped.max(dropped);
        Ok(())
    }
}
