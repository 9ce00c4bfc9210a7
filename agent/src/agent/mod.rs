//! The driver: carries out on the hardware what the state machine
//! ([`crate::core`]) asks for, one durable step after the other, and reports how
//! each ended. It decides nothing about the session.
//!
//! | file | what |
//! |---|---|
//! | `run.rs` | the run loop: what a host does next, and when |
//! | `effects.rs` | each [`Effect`], carried out |
//! | `calls.rs` | what a person asks for: activate, cancel, sign out, deactivate |
//! | `grant.rs` | storing a grant: randomness, slot, session |
//! | `exchange.rs` | the next request, and what a reply says |
//! | `orders.rs` | signed orders over any channel |
//! | `trust.rs` | root, delegation, and what they sign |
//! | `cache.rs` | account data: put, get, remove, forget |
//! | `logs.rs` | journal and vault |
//! | `sanitize.rs` | slots and vault: erase, look |
//! | `receipt.rs` | receipts and proofs |
//! | `storage_check.rs` | the storage check |
//!
//! Firmware calls [`Agent::poll`] in a loop, does what it says (go on, post a
//! request, sleep, restart), hands replies to [`Agent::handle_reply`], and shows
//! what [`Agent::status`] says. [`Agent::step`], [`Agent::poll_request`] and
//! [`Agent::next_due_ms`] are the layer below, for tests and for hosts that must
//! split the work.

mod cache;
mod calls;
mod effects;
mod exchange;
mod grant;
mod logs;
mod orders;
mod receipt;
pub mod run;
mod sanitize;
mod storage_check;
mod trust;

pub use crate::core::{CHARGE_S, MAX_CHARGE_S};
pub use storage_check::CheckStep;

use crate::core::{Core, Effect, Event, Found, Job, Mode, PLACES, Setup, Time};
use crate::error::Error;
use crate::lease::LeaseStatus;
use crate::log::{Entry, Log, LogGeometryError, LogKeys, MAX_RESERVE, Progress, RECORD_OVERHEAD};
use crate::slot::SlotContent;
use crate::state::{State, Tombstone};
use crate::wire::codec::{Blank as _, Bounded, Wire};
use crate::wire::{Delegation, DeviceId, Generation, Grant, Losses, Series, TokenSecret};
use heapless::String;
use logs::LogId;
use nrd_hal::{Clock as _, DeviceIdentity as _, Platform, Region as _};
use zeroize::{Zeroize, Zeroizing};

/// Version of this agent: major, minor, patch.
pub const AGENT_VERSION: [u8; 3] = [0, 1, 0];

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
///     root_version: 0, // the root that the service began with
///     factory_epoch: 0, // what the counter showed at the end of the line
///     wait_s: 50,       // shorter than the time-out of the network stack
/// };
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// The service's root public key (Ed25519), pinned by the firmware.
    pub service_root: [u8; 32],
    /// Its version: 0 for the service's first root. A device that has followed
    /// the service to a newer one keeps that.
    pub root_version: u32,
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
// root, receipts.
const _: () = assert!(
    1 + 4 + (PLACES as usize) < JOURNAL_RECORDS,
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
    /// Progress of a storage check: bytes stored, read back and erased, and how
    /// many that will be in all.
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
    /// What could not be read and is not yet replaced. The service is told too.
    pub losses: Losses,
    /// What failed last in [`Agent::poll`] and has not succeeded since: a piece
    /// of the agent's own work, or else the conversation with the service. A
    /// network that is down is no fault of the device and is not shown here.
    pub fault: Option<Error>,
}

/// A session's token. No `Debug`; zeroized on drop, and where it stands.
#[derive(Wire, Zeroize, zeroize::ZeroizeOnDrop)]
struct Session {
    series: Series,
    generation: Generation,
    token: TokenSecret,
}

/// Every key in one block, zeroized together, in place.
///
/// Found: a grant that was moved out of an `Option` left token, series and name
/// in the agent's memory until the reboot. Secrets are written where they stay.
struct Keys {
    journal: LogKeys,
    /// Key of the slots' own check.
    slot: Zeroizing<[u8; 32]>,
    vault: LogKeys,
    content: SlotContent,
    /// The session in use; blank when there is none.
    session: Session,
    /// The one being stored.
    next_session: Session,
    /// The grant being stored.
    grant: Grant,
}

impl Keys {
    /// Forgets everything that opens account data.
    fn kill(&mut self) {
        self.vault.zeroize();
        self.content.zeroize();
        self.session.zeroize();
        self.drop_grant();
    }

    /// Forgets what was being stored.
    fn drop_grant(&mut self) {
        self.next_session.zeroize();
        self.grant.zeroize();
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
    core: Core,
    scratch: &'m mut [u8],
    journal: Log<'m>,
    vault: Log<'m>,
    keys: Keys,
    /// The service root in force.
    root: [u8; 32],
    trust: Option<Delegation>,
    config: Config,
    device_id: DeviceId,
    /// Seconds over which the first exchange is spread once the boot is done.
    spread_s: u32,
    /// A storage check, if one is under way.
    check: storage_check::StorageCheck,
    platform: P,
}

/// Ids of the journal's records (class 0).
mod id {
    pub(super) const SNAPSHOT: u16 = 1;
    pub(super) const TOMBSTONE: u16 = 2;
    pub(super) const TRUST: u16 = 3;
    pub(super) const ROOT: u16 = 4;
    /// Receipts that prove something to an account, and one that does not.
    pub(super) const RECEIPT: u16 = 16;
}

const _: () = assert!(id::SNAPSHOT < id::TOMBSTONE && id::TOMBSTONE < id::TRUST);
const _: () = assert!(id::TRUST < id::ROOT && id::ROOT < id::RECEIPT);

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
        let g = parts.vault.geometry();
        let vault =
            Log::new(g, memory.vault_table, memory.vault_index, 0).map_err(BuildError::Vault)?;
        let setup = Setup {
            factory_epoch: config.factory_epoch,
            sectors: g.size.checked_div(g.erase_size).unwrap_or(0),
            pinned_root: config.root_version,
        };
        Ok(Agent {
            core: Core::new(setup),
            platform,
            device_id,
            journal,
            vault,
            scratch: memory.scratch,
            keys: Keys {
                journal: LogKeys::NONE,
                slot: Zeroizing::new([0; 32]),
                vault: LogKeys::NONE,
                content: SlotContent::BLANK,
                session: Session::BLANK,
                next_session: Session::BLANK,
                grant: Grant::BLANK,
            },
            root: config.service_root,
            config,
            trust: None,
            spread_s: 0,
            check: storage_check::StorageCheck::NONE,
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

    /// Does one bounded piece of pending work: at most one erase block, one
    /// sector's copy, or a few programs. After an error nothing is lost; call
    /// again.
    ///
    /// The layer below [`Agent::poll`], which is the run loop and decides how
    /// often failed work is tried again.
    pub fn step(&mut self) -> Result<Step, Error> {
        self.event(Event::Tick)?;
        let effect = self.core.effect();
        match effect {
            Effect::Rest => return self.tidy(),
            Effect::Reset => {
                self.event(Event::Ended(Ok(Found::Done)))?;
                return Ok(Step::ResetAdvised);
            }
            _ => {}
        }
        let done = self.carry_out(effect, &[]);
        if !matches!(self.core.mode(), Mode::Boot(_)) {
            self.spread_if_asked();
        }
        match done {
            // What a wipe cannot do it reports, and goes on.
            Err(_) if self.core.state() == State::Wiping && !self.core.is_repeating() => {
                Ok(Step::Working)
            }
            done => done.map(|()| Step::Working),
        }
    }

    /// What the logs do by themselves: make room, index.
    fn tidy(&mut self) -> Result<Step, Error> {
        let logs = [
            (LogId::Journal, self.journal.needs_step()),
            (
                LogId::Vault,
                self.keys.vault.are_set() && self.vault.needs_step(),
            ),
        ];
        for (log, wants) in logs {
            if wants && self.log_step(log)? == Progress::More {
                return Ok(Step::Working);
            }
        }
        Ok(Step::Idle)
    }

    /// Tells the machine what happened. An error is a call refused.
    fn event(&mut self, event: Event<'_>) -> Result<(), Error> {
        let time = self.time();
        let done = self.core.handle(event, time);
        self.draw_jitter();
        let storing = matches!(
            self.core.mode(),
            Mode::Live(Job::Store(_) | Job::Lease { .. })
        );
        if !storing {
            self.keys.drop_grant();
        }
        done
    }

    /// Tells the machine what happened, and carries out what belongs to it:
    /// `frame` is what the event came in.
    fn settle(&mut self, event: Event<'_>, frame: &[u8]) -> Result<(), Error> {
        self.event(event)?;
        let (mut first, mut wipe) = (Ok(()), Ok(()));
        while self.core.is_engaged() {
            let wipes = self.core.state() == State::Wiping;
            let done = self.carry_out(self.core.effect(), frame);
            let kept = if wipes { &mut wipe } else { &mut first };
            *kept = kept.and(done);
        }
        // What a wipe cannot do it reports, and goes on: unless nothing of it is on
        // flash that a next boot would go by.
        if self.core.is_uncommitted() {
            first = first.and(wipe);
        }
        first
    }

    fn time(&mut self) -> Time {
        let clock = self.platform.parts().clock;
        Time {
            uptime_ms: clock.uptime_ms(),
            wall_s: clock.wall_s(),
        }
    }

    /// The state now.
    pub fn state(&mut self) -> State {
        self.pay();
        self.core.state()
    }

    /// The device's state, for its screen.
    pub fn status(&mut self) -> Status {
        let state = self.state();
        let held = self.core.held();
        let open = state == State::Active;
        Status {
            state,
            lease: self.core.lease_status(),
            code: self.core.talk.code(),
            wipe: self
                .core
                .tombstone()
                .map(|t| (t.sectors.erased + t.sectors.failed, t.sectors.total)),
            policy: self.core.activation().map(|a| a.policy.0),
            receipts: self.core.receipts().count_ones() as u8,
            generation: open.then_some(self.keys.session.generation.0),
            worn_out: held.worn_out,
            losses: self.core.losses(),
            fault: self.core.retry.fault(),
            fill: self.check_progress(),
        }
    }

    /// The newest wall time that the service's keys signed, or the hardware's own
    /// where it is no older, in Unix seconds; 0 when neither is known. What a
    /// certificate's end is held against on a device without a clock.
    pub fn signed_time(&mut self) -> u64 {
        self.tick();
        self.core.signed_time()
    }

    /// Takes notice of the time, and charges what was used up while nobody polled:
    /// a host that slept is not told that its memory takes no writes.
    fn pay(&mut self) {
        self.tick();
        if self.core.owes_charge() && self.core.retry.work.is_none() {
            let paid = self.carry_out(Effect::Save, &[]);
            if let Err(e) = paid {
                // Access is closed, and the run loop tries again.
                let now_ms = self.core.now_ms();
                self.core.retry.failed(e, now_ms);
            }
        }
    }

    /// Takes notice of the time.
    fn tick(&mut self) {
        let ticked = self.event(Event::Tick);
        debug_assert!(ticked.is_ok(), "time is never refused");
    }

    /// Forgets everything that opens account data, and what a call left behind.
    fn forget_secrets(&mut self) {
        self.keys.kill();
        self.scratch.zeroize();
    }
}
