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
use crate::lease::{Now, Standing};
use crate::log::{Entry, Log, LogGeometryError, LogKeys, MAX_RESERVE, Progress, RECORD_OVERHEAD};
use crate::slot::SlotContent;
use crate::state::{Activation, Snapshot, State, Stored, Tombstone};
use crate::wire::codec::Wire;
use crate::wire::{Delegation, DeviceId, Generation, LockReason, Series, TokenSecret};
use exchange::Exchange;
use heapless::String;
use logs::{Which, journal_key};
use nrd_hal::{Clock, DeviceIdentity, Platform, Region};
use run::Retry;
use zeroize::{Zeroize as _, Zeroizing};

/// Version of this agent: major, minor, patch.
pub const AGENT_VERSION: [u8; 3] = [0, 1, 0];

/// Powered seconds are charged to the journal this far ahead of use.
pub const CHARGE_S: u32 = 900;

/// What a product decides once.
#[derive(Debug, Clone)]
pub struct Config {
    /// The service's root public key (Ed25519), pinned by the firmware.
    pub service_root: [u8; 32],
    /// The counter's value as the device left the factory.
    pub factory_epoch: u64,
    /// How long a check-in may wait for an order, in seconds; 0 for firmware
    /// that keeps no connection open.
    pub wait_s: u16,
}

/// Memory lent to the agent. Sizes: a table entry (4 B) for each logical
/// sector (at most 32 of a region), an index entry (16 B) for each record that
/// may live at once (the journal has at most [`JOURNAL_RECORDS`]), and a scratch buffer of at least
/// [`MIN_SCRATCH`] bytes plus the longest value.
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

/// Why an agent could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
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

/// What [`Agent::step`] did.
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

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// How access stands, while an activation is held.
    pub standing: Option<Standing>,
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

/// Where the boot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
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
/// Small fields come first: code reaches the first bytes of a block with its
/// shortest instructions.
#[repr(C)]
pub struct Agent<'m, P: Platform> {
    phase: Phase,
    /// The journal, or the slot it names, is unreadable.
    lost: bool,
    reset_advised: bool,
    /// Undelivered receipts in the journal: a bit for each place.
    receipts: u8,
    wipe_tries: u8,
    /// Blocks that a resumed wipe still erases twice, see `wipe.rs`.
    wipe_doubt: u32,
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
    install: Option<activate::Install>,
    /// A deep proof under way.
    fill: Option<fill::Fill<<P::Crypto as nrd_hal::Crypto>::Sha256>>,
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

/// How many undelivered receipts are kept.
const RECEIPTS: u16 = 4;

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
            phase: Phase::Journal,
            snapshot: Snapshot::fresh(0),
            tombstone: None,
            trust: None,
            lost: false,
            base_s: 0,
            exchange: Exchange::default(),
            retry: Retry::default(),
            install: None,
            wipe_tries: 0,
            wipe_doubt: 0,
            receipts: 0,
            reset_advised: false,
            fill: None,
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
    #[inline(never)]
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.phase != Phase::Ready {
            self.boot_step()?;
            if self.phase == Phase::Ready {
                self.spread_if_asked();
            }
        } else if core::mem::take(&mut self.reset_advised) {
            return Ok(Step::ResetAdvised);
        } else if self.tombstone.is_some() {
            self.wipe_step()?;
        } else if self.install.is_some() {
            self.install_step()?;
        } else {
            return self.step_at_rest();
        }
        Ok(Step::Working)
    }

    /// A step of a device that neither boots nor wipes nor stores a grant.
    fn step_at_rest(&mut self) -> Result<Step, Error> {
        if !self.lost {
            self.charge()?;
            if self.journal.needs_step() && self.log_step(Which::Journal)? == Progress::More {
                return Ok(Step::Working);
            }
            if self.standing() == Some(Standing::DeadMan) {
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
            && self.log_step(Which::Vault)? == Progress::More
        {
            return Ok(Step::Working);
        }
        Ok(Step::Idle)
    }

    /// The state now.
    #[inline(never)]
    pub fn state(&mut self) -> State {
        if self.phase != Phase::Ready {
            return State::Booting;
        }
        if self.tombstone.is_some() {
            return State::Wiping;
        }
        if self.lost {
            return State::Locked(LockReason::JournalLost);
        }
        match &self.snapshot.stored {
            Stored::Clean => State::Clean,
            Stored::Failed => State::WipeFailed,
            Stored::Activating { .. } => State::Activating,
            Stored::SignedOut { .. } => State::SignedOut,
            Stored::Active(a) => match (a.lock, self.standing()) {
                (Some(reason), _) => State::Locked(reason),
                (None, Some(Standing::Open { .. })) => State::Active,
                (None, _) => State::Locked(LockReason::LeaseExpired),
            },
        }
    }

    /// What to show on screen.
    pub fn status(&mut self) -> Status {
        let state = self.state();
        let policy = self.activation().map(|a| a.policy.0);
        Status {
            state,
            standing: self.standing(),
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
        match &self.snapshot.stored {
            Stored::Active(a) => Some(a),
            _ => None,
        }
    }

    /// Powered seconds of the device's life.
    fn powered_s(&mut self) -> u32 {
        let up = seconds(self.platform.parts().clock.uptime_ms());
        self.base_s.saturating_add(up)
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

    fn standing(&mut self) -> Option<Standing> {
        let now = self.now();
        // A consent lock holds the dead-man: the service waits for a person.
        let a = self.activation()?;
        match a.lease.standing(now) {
            Standing::DeadMan if a.lock == Some(LockReason::ConsentDue) => {
                Some(Standing::Expired {
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
        self.store(Which::Journal, key, &mut next)?;
        // What had to give way for this very record is told by the next one.
        let dropped = self.snapshot.receipts_dropped;
        self.snapshot = next;
        self.snapshot.receipts_dropped = self.snapshot.receipts_dropped.max(dropped);
        Ok(())
    }
}

/// Milliseconds in seconds, without a 64-bit division: 2³² = 4,294,967 × 1000
/// + 296. More than 136 years count as that.
fn seconds(ms: u64) -> u32 {
    let (high, low) = ((ms >> 32) as u32, ms as u32);
    if high >= 1000 {
        return u32::MAX;
    }
    high * 4_294_967 + low / 1000 + (high * 296 + low % 1000) / 1000
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn milliseconds_become_seconds_without_a_long_division() {
        for ms in [
            0,
            999,
            1000,
            u64::from(u32::MAX),
            1 << 32,
            (1 << 32) + 705,
            999 << 32,
        ] {
            assert_eq!(u64::from(seconds(ms)), ms / 1000, "{ms}");
        }
        assert_eq!(seconds(u64::MAX), u32::MAX);
    }
}
