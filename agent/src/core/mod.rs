//! The state machine: what the device does about everything that happens.
//!
//! Pure: it reads no clock, touches no flash and draws nothing at random. It is
//! told what happened ([`Event`]), and says which durable step comes next
//! ([`Effect`]). The driver (`agent/src/agent/`) carries that out on the
//! hardware, reports how it ended, and decides nothing. The model checker of
//! `tests/src/model/` runs this same code.
//!
//! ```text
//!            handle(event, time)                 effect()
//!   calls ──────────┐                          ┌──────────▶ one durable step
//!   replies ────────┤                          │            (write, erase, raise,
//!   orders ─────────┼──▶  Core: mode, snapshot ┘             close)
//!   time ───────────┤                                             │
//!   results ────────┘◀────────────────────────────────────────────┘
//!                         Event::Ended(how it ended)
//! ```
//!
//! | file | content |
//! |---|---|
//! | `event.rs` | what the machine is told, and what it asks for |
//! | `boot.rs` | from power-on to a known state |
//! | `calls.rs` | what begins a change: a person's call, a verified order or reply |
//! | `live.rs` | activation, lease, lock, sign-out, trust: each a job of a few steps |
//! | `wipe.rs` | the wipe |
//! | `view.rs` | the state as callers see it; what an order means here |
//! | `receipts.rs` | where receipts are kept, and which gives way |
//! | `talk.rs` | what is said next to the service, and when |
//! | `time.rs` | powered time |
//! | `retry.rs` | when failed work is tried again |
//!
//! # Two rules
//!
//! 1. **What closes counts at once, in RAM, and is written after.** A lock, a
//!    sign-out, the end of charged time, a wipe: should the write fail, access
//!    stays closed, and the write is tried again.
//! 2. **What opens counts once it is on flash.** An activation, a lease, a boot:
//!    should the write fail, nothing has changed.
//!
//! Found: both were the other way round where a write failed. On a journal that
//! took no more writes a device stayed open for 348 days against a lease of 30,
//! and a person's sign-out left it active.

mod boot;
mod calls;
mod event;
mod live;
mod receipts;
pub(crate) mod retry;
pub(crate) mod talk;
pub(crate) mod time;
mod view;
mod wipe;

pub use boot::{Boot, Journal, Read};
pub use event::{Delegated, Effect, Event, Found, Granted};
pub use live::{Job, Renewal, SignOutStep, Store, StoreStep, SwapStep, TrustStep};
pub use receipts::{PLACES, SPARE_PLACE};
pub use talk::Sent;
pub use time::{CHARGE_S, MAX_CHARGE_S, Time};
pub use wipe::{MAX_TRIES, Wipe, WipeStep};

use crate::error::Error;
use crate::lease::LeaseStatus;
use crate::state::{Snapshot, Tombstone};
use crate::wire::{Losses, WipeReason};
use retry::Retry;
use talk::Talk;
use time::{PoweredTime, after_s, sooner};

/// What the machine is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The boot is not done.
    Boot(Boot),
    /// The journal holds no state that could be believed: closed until a person
    /// wipes the device.
    Lost,
    /// The snapshot is in force.
    Live(Job),
    /// A wipe is committed.
    Wipe(Wipe),
}

/// What a product fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setup {
    /// The counter's value as the device left the factory.
    pub factory_epoch: u64,
    /// Erase units of the vault.
    pub sectors: u32,
    /// Version of the root that the firmware pins.
    pub pinned_root: u32,
}

/// The state machine.
///
/// ```
/// use nrd_agent::core::{Core, Effect, Event, Found, Setup, Time};
/// use nrd_agent::state::State;
///
/// let mut core = Core::new(Setup { factory_epoch: 0, sectors: 16, pinned_root: 0 });
/// assert_eq!((core.state(), core.effect()), (State::Booting, Effect::DeriveKeys));
/// core.handle(Event::Ended(Ok(Found::Done)), Time::default()).unwrap();
/// assert_eq!(core.effect(), Effect::OpenJournal);
/// // A person deactivates before the boot is done: noted, and done after it.
/// core.handle(Event::Deactivate, Time::default()).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Core {
    mode: Mode,
    /// The state in force.
    held: Snapshot,
    /// `held` is what the journal holds. False after something closed.
    saved: bool,
    /// The counter, as last read.
    counter: Option<u64>,
    /// A session is in RAM.
    session: bool,
    /// A reboot is to be advised.
    reset: bool,
    /// Places that hold a receipt, a bit each.
    receipts: u8,
    losses: Losses,
    /// Version of the root in force.
    root: u32,
    setup: Setup,
    time: PoweredTime,
    pub(crate) talk: Talk,
    pub(crate) retry: Retry,
}

impl Core {
    /// A device that has just been switched on.
    pub fn new(setup: Setup) -> Core {
        Core {
            mode: Mode::Boot(Boot::default()),
            held: Snapshot::fresh(0),
            saved: true,
            counter: None,
            session: false,
            reset: false,
            receipts: 0,
            losses: Losses::default(),
            root: setup.pinned_root,
            setup,
            time: PoweredTime::default(),
            talk: Talk::default(),
            retry: Retry::default(),
        }
    }

    /// Takes in what happened. An error refuses a call and changes nothing; the
    /// table of calls and phases is in `docs/SPEC.md` §7.
    pub fn handle(&mut self, event: Event<'_>, time: Time) -> Result<(), Error> {
        self.time.observe(time);
        self.talk.observe(self.time.now_ms());
        match event {
            Event::Tick => self.time_passed(),
            Event::Answered(challenge) => self.talk.answered(challenge),
            Event::Ended(ref result) => self.ended(result),
            Event::Deactivate => return self.deactivate(),
            Event::Start(id) => return self.start(id),
            Event::Cancel => return self.cancel(),
            Event::SignOut => return self.sign_out(None),
            Event::Forget(class) => return self.forget(class),
            Event::Fill => return self.fill(),
            Event::Unfill => self.unfill(),
            Event::Order { order, digest } => return self.order(order, digest),
            Event::Granted(granted) => return self.granted(granted),
            Event::AttemptEnded => self.attempt_ended(),
            Event::Leased {
                id,
                renewal,
                bounds,
            } => return self.leased(id, renewal, bounds),
            Event::Stated { id, reason } => return self.stated(id, reason),
            Event::Delegated(delegated) => return self.delegated(delegated),
            Event::RootChanged(version) => return self.root_changed(version),
            Event::SignOutNoted => self.sign_out_noted(),
            Event::ReceiptDelivered(place) => self.begin(Job::DropReceipt(place)),
            Event::ReceiptUnreadable(place) => {
                self.losses.receipt = true;
                // Once, also where the journal does not let it go.
                self.receipt_dropped(place);
                self.begin(Job::DropReceipt(place));
            }
            Event::ReceiptDropped(place) => self.receipt_dropped(place),
        }
        Ok(())
    }

    /// The durable step that comes next.
    pub fn effect(&self) -> Effect {
        match &self.mode {
            Mode::Boot(boot) => boot.effect(),
            Mode::Lost => Effect::Rest,
            Mode::Live(job) => self.job_effect(job),
            Mode::Wipe(wipe) => wipe.effect(self.next_place(&wipe.tombstone)),
        }
    }

    /// True while the effect belongs to the call, order or reply that was handled
    /// last: its caller waits for it. Other effects are carried out one a step.
    pub fn is_engaged(&self) -> bool {
        match &self.mode {
            Mode::Boot(_) | Mode::Lost => false,
            Mode::Live(job) => job.is_engaged(),
            Mode::Wipe(wipe) => wipe.is_engaged(),
        }
    }

    fn ended(&mut self, result: &Result<Found<'_>, Error>) {
        match *result {
            Ok(Found::Counter(n)) => self.counter = Some(n),
            Ok(Found::Saved(image)) => self.saved(image),
            _ => {}
        }
        match &self.mode {
            Mode::Boot(_) => self.boot_ended(result),
            Mode::Lost => {}
            Mode::Live(_) => self.job_ended(result),
            Mode::Wipe(_) => self.wipe_ended(result),
        }
    }

    /// Puts into `image` the snapshot to write for [`Effect::Save`]: the state in
    /// force, with what the step under way makes of it, and time charged ahead.
    ///
    /// In place, for it is the largest value here.
    pub fn write_image(&self, image: &mut Snapshot) {
        *image = self.held;
        match &self.mode {
            Mode::Boot(_) => self.boot_image(image),
            Mode::Lost => {}
            Mode::Live(job) => self.job_image(job, image),
            Mode::Wipe(wipe) => self.wipe_image(wipe, image),
        }
        image.used_s = self.time.used_s();
        if self.time.wants_charge(image.charged_s) {
            image.charged_s = self.time.charge();
        }
        if self.talk.was_answered() {
            image.unanswered = 0;
        }
    }

    /// The state in force is on flash.
    fn saved(&mut self, image: &Snapshot) {
        // Receipts dropped to make room for this record are counted in the next
        // one: this one was encoded before.
        let dropped = self.held.receipts_dropped.max(image.receipts_dropped);
        self.held = *image;
        self.held.receipts_dropped = dropped;
        self.saved = dropped == image.receipts_dropped;
    }

    fn receipt_dropped(&mut self, place: u8) {
        self.receipts &= !(1 << place);
        self.count_dropped();
    }

    /// Found: a receipt that gave way to a snapshot was counted in RAM alone, and a
    /// power cycle forgot it.
    fn count_dropped(&mut self) {
        self.saved = false;
        self.held.receipts_dropped = self.held.receipts_dropped.saturating_add(1);
    }

    /// The tombstone to write for [`Effect::SaveTombstone`].
    pub fn tombstone(&self) -> Option<&Tombstone> {
        match &self.mode {
            Mode::Wipe(wipe) => Some(&wipe.tombstone),
            Mode::Boot(_) | Mode::Lost | Mode::Live(_) => None,
        }
    }

    /// What the machine is doing.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The snapshot in force.
    pub fn held(&self) -> &Snapshot {
        &self.held
    }

    /// The counter as last read, or the epoch in force.
    pub(crate) fn counter(&self) -> u64 {
        self.counter.unwrap_or(self.epoch())
    }

    /// What was lost and not replaced.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Version of the root in force.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// Takes notice that the delegation accepted before cannot be read.
    pub(crate) fn delegation_lost(&mut self) {
        self.losses.delegation = true;
    }

    /// The service has been told of the losses that end with being told.
    pub(crate) fn losses_told(&mut self) {
        self.losses.receipt = false;
    }

    /// Milliseconds of this boot.
    pub(crate) fn now_ms(&self) -> u64 {
        self.time.now_ms()
    }

    /// The platform's uptime at a moment of this boot.
    pub(crate) fn uptime_at(&self, moment_ms: u64) -> u64 {
        self.time.uptime_at(moment_ms)
    }

    /// Powered seconds of the device's life, charged ahead of use.
    pub(crate) fn powered_s(&self) -> u32 {
        self.time.powered_s()
    }

    /// Powered seconds of the device's life that have passed for certain.
    pub(crate) fn used_s(&self) -> u32 {
        self.time.used_s()
    }

    /// The newest wall time that the service's keys signed, or the hardware's own
    /// where it is no older; 0 when neither is known. Unix seconds.
    pub(crate) fn signed_time(&self) -> u64 {
        let floor = self.held.time_floor;
        self.time.wall_s.unwrap_or(0).max(floor)
    }

    /// What time alone changes.
    fn time_passed(&mut self) {
        self.talk.time_passed();
        let dead = self.lease_status() == Some(LeaseStatus::DeadMan);
        if dead && matches!(self.mode, Mode::Live(Job::Idle)) {
            self.begin_wipe(WipeReason::DeadMan, None);
        }
    }

    /// The moment at which time alone changes something: powered time is charged,
    /// the lease ends, the dead-man comes. In milliseconds of this boot.
    pub(crate) fn changes_at_ms(&self) -> Option<u64> {
        if !matches!(self.mode, Mode::Live(_)) {
            return None;
        }
        let change = match self.lease_status() {
            Some(LeaseStatus::Open { left_s, .. }) => Some(left_s),
            Some(LeaseStatus::Expired { dead_man_in_s }) => dead_man_in_s,
            Some(LeaseStatus::DeadMan) => Some(0),
            None => None,
        };
        let now_ms = self.time.now_ms();
        let charge = self.time.charges_at(self.held.charged_s);
        sooner(change.map(|s| after_s(now_ms, s)), Some(charge))
    }
}
