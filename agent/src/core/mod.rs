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
//! | `boot.rs` | from power-on to a known state |
//! | `live.rs` | activation, lease, lock, sign-out, trust: each a job of a few steps |
//! | `wipe.rs` | the wipe |
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
mod live;
pub(crate) mod retry;
pub(crate) mod talk;
mod time;
mod wipe;

pub use boot::{Boot, BootStep, Journal, Read};
pub use live::{Job, Renewal, SignOutStep, Store, StoreStep, SwapStep, TrustStep};
pub use talk::Sent;
pub use time::{CHARGE_S, Time};
pub use wipe::{MAX_TRIES, Wipe, WipeStep};

use crate::class::Class;
use crate::error::Error;
use crate::lease::{LeaseStatus, Now};
use crate::order::{OrderContext, Verdict, evaluate};
use crate::state::{Activation, PersistedState, Snapshot, State, Tombstone};
use crate::wire::{
    ActivationId, DeviceId, Digest, LeaseTerms, LockReason, Losses, Order, PolicyVersion,
    TermBounds, TrustVersion, WipeReason,
};
use retry::Retry;
use talk::Talk;
use time::PoweredTime;

/// One durable step, or closing. The driver carries it out whole and answers
/// with [`Event::Ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing, until something happens.
    Rest,
    /// Advise a restart of the platform: a wipe has ended.
    Reset,
    /// Derive the journal's keys.
    DeriveKeys,
    /// One step of making the journal readable and writable. [`Found::More`]
    /// until it is.
    OpenJournal,
    /// Read the counter: [`Found::Counter`].
    ReadCounter,
    /// Read the journal's records and look at the slots: [`Found::Journal`].
    Load,
    /// Erase whatever a slot still holds: [`Found::Blank`].
    EffaceSlots,
    /// Write [`Core::image`] as the snapshot and read it back: [`Found::Saved`].
    Save,
    /// Read the slot that the snapshot names, derive the vault's keys, and efface
    /// the other slot: [`Found::Slot`].
    OpenSlot,
    /// One step towards the session record. [`Found::More`], then
    /// [`Found::Session`].
    OpenSession,
    /// Draw the grant's secret and salts, write the slot where the grant is to be
    /// remembered, derive the vault's keys.
    MakeSlot,
    /// Make the vault writable, one step: [`Found::More`] until it is.
    OpenVault,
    /// Store the grant's session and display name.
    StoreSession,
    /// Store the successor token, and use it.
    StoreToken,
    /// Store the delegation's frame.
    StoreDelegation,
    /// Store the new root.
    StoreRoot,
    /// Write the other slot, with a new salt for this class.
    NewSalt(Class),
    /// Take the keys of the new slot into use, and efface the old one.
    SwapSlot(Class),
    /// Remove the receipt at this place.
    RemoveReceipt(u8),
    /// Forget every key and secret in RAM.
    Close,
    /// Write [`Core::tombstone`] and read it back.
    SaveTombstone,
    /// Remove the tombstone.
    RemoveTombstone,
    /// Raise the counter, unless it has reached this: [`Found::Counter`].
    RaiseCounter(u64),
    /// Program both slots to zero, where the part can.
    ZeroSlots,
    /// Erase both slots and read them back; `twice` where a cut may have torn an
    /// erase: [`Found::Blank`].
    EraseSlots {
        /// Erase once before.
        twice: bool,
    },
    /// Erase the block of the vault that begins here and read it back:
    /// [`Found::Erased`].
    EraseBlock {
        /// Its offset in the vault, in bytes.
        at: u32,
        /// Erase once before.
        twice: bool,
    },
    /// Read both slots: [`Found::Blank`].
    LookAtSlots,
    /// Store the wipe's receipt at this place: [`Found::Receipt`].
    StoreReceipt {
        /// Both slots were destroyed and read blank.
        slots_blank: bool,
        /// Where.
        place: u8,
    },
    /// One block of a deep proof: [`Found::Filled`].
    Fill,
    /// Erase what a deep proof that lost power left behind: [`Found::Filled`].
    Unfill {
        /// Offset in the vault, in bytes.
        at: u32,
    },
}

/// What the driver found when it carried out an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found<'a> {
    /// It is done.
    Done,
    /// A piece of it is done.
    More,
    /// The counter's value.
    Counter(u64),
    /// What the journal holds.
    Journal(Journal<'a>),
    /// This snapshot is on flash.
    Saved(&'a Snapshot),
    /// The slot that the snapshot names was read.
    Slot(bool),
    /// The session was read.
    Session(bool),
    /// Both slots read blank.
    Blank(bool),
    /// A block was dealt with.
    Erased {
        /// Erase units of it that read blank.
        erased: u32,
        /// Erase units of it that do not.
        failed: u32,
        /// Where the next block begins; `None` at the vault's end.
        next: Option<u32>,
    },
    /// The receipt is stored.
    Receipt {
        /// Its digest.
        digest: Digest,
    },
    /// A block of a deep proof was dealt with.
    Filled {
        /// Where the next one begins; `None` at the end of the proof.
        next: Option<u32>,
        /// The vault reads blank as far as it was erased.
        blank: bool,
    },
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event<'a> {
    /// Nothing but time.
    Tick,
    /// A reply came, with the challenge of the next request.
    Answered([u8; 32]),
    /// The effect ended.
    Ended(Result<Found<'a>, Error>),
    /// A person at the device deactivates it.
    Deactivate,
    /// A person begins an activation, under an id drawn for it.
    Start(ActivationId),
    /// A person gives the attempt up.
    Cancel,
    /// A person signs out.
    SignOut,
    /// A caller forgets a class of account data.
    Forget(Class),
    /// Somebody asks for a deep proof.
    Fill,
    /// An order whose signature and addressee are verified, and which applies.
    Order {
        /// The order.
        order: &'a Order,
        /// SHA-256 of its frame.
        digest: &'a Digest,
    },
    /// A grant for this device, verified.
    Granted(&'a Granted),
    /// The service ended the attempt.
    AttemptEnded,
    /// A lease for this device and request, verified.
    Leased {
        /// The activation it is for.
        id: ActivationId,
        /// The lease.
        renewal: Renewal,
        /// What the root allows.
        bounds: TermBounds,
    },
    /// A statement for this device and request, verified.
    Stated {
        /// The activation it is for.
        id: ActivationId,
        /// Why access closes.
        reason: LockReason,
    },
    /// A delegation, verified under the root in force.
    Delegated(Delegated),
    /// The next root, verified under the root in force.
    RootChanged(u32),
    /// The service has noted that the device is signed out.
    SignOutNoted,
    /// The service has stored the receipt at this place.
    ReceiptDelivered(u8),
    /// The receipt at this place cannot be read.
    ReceiptUnreadable(u8),
    /// Room was needed in the journal, and the receipt at this place was removed.
    ReceiptDropped(u8),
}

/// A grant without its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Granted {
    /// The activation.
    pub id: ActivationId,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the session outlives power-off.
    pub remember: bool,
    /// The policy version consented to.
    pub policy: PolicyVersion,
    /// Terms until the first lease.
    pub terms: LeaseTerms,
}

/// A delegation without its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delegated {
    /// Its version, and its root's.
    pub version: TrustVersion,
    /// It names an order key older than the one in force.
    pub order_key_falls: bool,
    /// None is in force: the one accepted before cannot be read.
    pub none_held: bool,
    /// Version of trusted time.
    pub time_version: u32,
    /// The time floor that comes with it.
    pub time_floor: u64,
}

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

/// Places of receipts that prove something to an account. They are used in turn.
pub const PLACES: u8 = 4;
/// The place of a receipt that proves nothing to anybody's account.
///
/// Found: "activate, cancel" pressed four times evicted the seller's undelivered
/// receipt.
pub const SPARE_PLACE: u8 = PLACES;

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
        match event {
            Event::Tick => self.time_passed(),
            Event::Answered(challenge) => self.talk.answered(challenge),
            Event::Ended(result) => self.ended(result),
            Event::Deactivate => return self.deactivate(),
            Event::Start(id) => return self.start(id),
            Event::Cancel => return self.cancel(),
            Event::SignOut => return self.sign_out(None),
            Event::Forget(class) => return self.forget(class),
            Event::Fill => return self.fill(),
            Event::Order { order, digest } => return self.order(order, digest),
            Event::Granted(granted) => return self.granted(granted),
            Event::AttemptEnded => self.attempt_ended(),
            Event::Leased {
                id,
                renewal,
                bounds,
            } => return self.leased(&id, renewal, &bounds),
            Event::Stated { id, reason } => return self.stated(&id, reason),
            Event::Delegated(delegated) => return self.delegated(delegated),
            Event::RootChanged(version) => return self.root_changed(version),
            Event::SignOutNoted => self.sign_out_noted(),
            Event::ReceiptDelivered(place) => self.begin(Job::DropReceipt(place)),
            Event::ReceiptUnreadable(place) => {
                self.losses.receipt = true;
                // Once, also where the journal does not let it go.
                self.receipts &= !(1 << place);
                self.count_dropped();
                self.begin(Job::DropReceipt(place));
            }
            Event::ReceiptDropped(place) => {
                self.receipts &= !(1 << place);
                self.count_dropped();
            }
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

    fn ended(&mut self, result: Result<Found<'_>, Error>) {
        if let Ok(Found::Counter(n)) = result {
            self.counter = Some(n);
        }
        match &self.mode {
            Mode::Boot(_) => self.boot_ended(result),
            Mode::Lost => {}
            Mode::Live(_) => self.job_ended(result),
            Mode::Wipe(_) => self.wipe_ended(result),
        }
    }

    /// The snapshot to write for [`Effect::Save`]: the state in force, with what
    /// the step under way makes of it, and time charged ahead.
    pub fn image(&self) -> Snapshot {
        let mut image = self.held;
        match &self.mode {
            Mode::Boot(_) => self.boot_image(&mut image),
            Mode::Lost => {}
            Mode::Live(job) => self.job_image(job, &mut image),
            Mode::Wipe(wipe) => self.wipe_image(wipe, &mut image),
        }
        image.used_s = self.time.used_s();
        if self.time.wants_charge(image.charged_s) {
            image.charged_s = self.time.powered_s().saturating_add(CHARGE_S);
        }
        if self.talk.was_answered() {
            image.unanswered = 0;
        }
        image
    }

    /// The state in force is on flash.
    fn saved(&mut self, image: &Snapshot) {
        // Receipts dropped to make room for this record are counted in the next
        // one: this one was encoded before.
        let dropped = self.held.receipts_dropped.max(image.receipts_dropped);
        self.held = *image;
        self.held.receipts_dropped = dropped;
        self.saved = true;
    }

    fn count_dropped(&mut self) {
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

    /// Places that hold a receipt, a bit each.
    pub(crate) fn receipts(&self) -> u8 {
        self.receipts
    }

    /// The kept receipt to deliver first: the oldest that proves something, then
    /// the spare one.
    pub fn oldest_receipt(&self) -> Option<u8> {
        (0..PLACES)
            .map(|n| self.held.next_place.wrapping_add(n) % PLACES)
            .chain([SPARE_PLACE])
            .find(|&place| self.holds_receipt(place))
    }

    /// The receipt that gives way when the journal is full: the spare one, then
    /// the oldest; never the one of the wipe under way.
    pub(crate) fn least_receipt(&self) -> Option<u8> {
        let kept = match &self.mode {
            Mode::Wipe(wipe) => Some(self.next_place(&wipe.tombstone)),
            Mode::Boot(_) | Mode::Lost | Mode::Live(_) => None,
        };
        let spare = Some(SPARE_PLACE).filter(|&p| self.holds_receipt(p) && kept != Some(p));
        spare.or_else(|| {
            (0..PLACES)
                .map(|n| self.held.next_place.wrapping_add(n) % PLACES)
                .find(|&p| self.holds_receipt(p) && kept != Some(p))
        })
    }

    fn holds_receipt(&self, place: u8) -> bool {
        self.receipts >> place & 1 == 1
    }

    /// Where the receipt of this wipe is kept.
    fn next_place(&self, tombstone: &Tombstone) -> u8 {
        if tombstone.activation_id == ActivationId::default() {
            SPARE_PLACE
        } else {
            self.held.next_place % PLACES
        }
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

    fn now(&self) -> Now {
        Now {
            powered_s: self.time.powered_s(),
            used_s: self.time.used_s(),
            boot: self.held.boots,
            wall_s: self.time.wall_s.filter(|&w| w >= self.held.time_floor),
        }
    }

    /// The activation in force, open or locked.
    pub fn activation(&self) -> Option<&Activation> {
        match (&self.mode, &self.held.state) {
            (Mode::Live(_), PersistedState::Active(a)) => Some(a),
            _ => None,
        }
    }

    /// The lease's state, while an activation is held.
    pub fn lease_status(&self) -> Option<LeaseStatus> {
        Some(self.activation()?.lease.status(self.now()))
    }

    /// The state as callers see it.
    pub fn state(&self) -> State {
        match &self.mode {
            Mode::Boot(boot) => boot.stuck().map_or(State::Booting, State::Locked),
            Mode::Lost => State::Locked(LockReason::JournalLost),
            Mode::Wipe(_) => State::Wiping,
            Mode::Live(_) => match &self.held.state {
                PersistedState::Clean => State::Clean,
                PersistedState::Failed => State::WipeFailed,
                PersistedState::Filling => State::Filling,
                PersistedState::Activating(_) => State::Activating,
                PersistedState::SignedOut(_) => State::SignedOut,
                PersistedState::Active(a) => self.closed_by(a).map_or(State::Active, State::Locked),
            },
        }
    }

    /// Why access to this activation is closed, if it is.
    fn closed_by(&self, a: &Activation) -> Option<LockReason> {
        if a.lock.is_some() {
            a.lock
        } else if !self.session {
            Some(LockReason::SessionLost)
        } else if self.time.powered_s() >= self.held.charged_s {
            Some(LockReason::NotStored)
        } else {
            match a.lease.status(self.now()) {
                LeaseStatus::Open { .. } => None,
                LeaseStatus::Expired { .. } | LeaseStatus::DeadMan => {
                    Some(LockReason::LeaseExpired)
                }
            }
        }
    }

    /// True while a step that failed is tried again: its pieces are no progress.
    pub(crate) fn is_repeating(&self) -> bool {
        match &self.mode {
            Mode::Boot(boot) => boot.is_repeating(),
            Mode::Wipe(wipe) => wipe.repeating,
            Mode::Lost | Mode::Live(_) => false,
        }
    }

    /// True when time must be charged before anything is served.
    pub(crate) fn owes_charge(&self) -> bool {
        matches!(self.mode, Mode::Live(Job::Idle)) && self.time.powered_s() >= self.held.charged_s
    }

    /// What a verified order means here. Nothing that a device holds is lost, or
    /// being found out, may be answered with "not applicable".
    pub fn judge(
        &self,
        order: &Order,
        digest: &Digest,
        device: &DeviceId,
    ) -> Result<Verdict, Error> {
        use crate::wire::{OrderKind, OrderResult};
        let (epoch, activation_id, wiping, seen) = match (&self.mode, &self.held.state) {
            (Mode::Boot(_), _) => return Err(Error::Busy),
            (Mode::Lost, _) => return Err(Error::WrongState),
            // Not yet for good: the answer would be too early.
            (Mode::Wipe(_), _) if self.is_uncommitted() => return Err(Error::Busy),
            (Mode::Wipe(w), _) => (
                w.tombstone.epoch,
                Some(&w.tombstone.activation_id),
                true,
                None,
            ),
            (Mode::Live(_), PersistedState::Active(a)) => {
                (a.epoch, Some(&a.id), false, Some(&a.seen))
            }
            (Mode::Live(_), PersistedState::SignedOut(s)) => {
                (s.epoch, Some(&s.id), false, Some(&s.seen))
            }
            // An order may be for the activation before this attempt, or for the
            // one that the service has granted and this device not yet stored.
            (Mode::Live(_), PersistedState::Activating(t)) => {
                if order.activation_id == t.id && order.kind != OrderKind::Deactivate {
                    return Err(Error::Busy);
                }
                let named = t.before.as_ref().filter(|b| **b == order.activation_id);
                (t.epoch, named.or(Some(&t.id)), false, None)
            }
            (
                Mode::Live(_),
                PersistedState::Clean | PersistedState::Failed | PersistedState::Filling,
            ) => (self.held.epoch, None, false, None),
        };
        if self.held.last_order.as_ref() == Some(digest) {
            return Ok(Verdict::Answer(OrderResult::AlreadyApplied));
        }
        let context = OrderContext {
            device_id: device,
            epoch,
            activation_id,
            wiping,
            seen,
        };
        match evaluate(order, &context) {
            // It was, in RAM alone: the answer would be too early.
            Verdict::Answer(OrderResult::AlreadyApplied) if !self.saved && !wiping => {
                Err(Error::Busy)
            }
            verdict => Ok(verdict),
        }
    }

    /// What time alone changes.
    fn time_passed(&mut self) {
        self.talk.time_passed(self.time.now_ms());
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
        let change = change.map(|s| now_ms.saturating_add(u64::from(s).saturating_mul(1000)));
        let charge = self.time.charges_at(self.held.charged_s);
        Some(change.map_or(charge, |c| c.min(charge)))
    }
}
