//! The protocol as a model, for a model checker: a device, its service, and a
//! network that loses, repeats, reorders and replays whatever was ever sent.
//!
//! The device is the agent's own state machine ([`nrd_agent::core::Core`]), the
//! code that products run: [`DEVICE`] names the function. What is written here is
//! around it: the simplest parts (`device.rs`), the service, people, and mishaps.
//! A cut of the power before, after and between any two durable steps is a step
//! of its own, and so are a journal that takes no writes, a counter that does not
//! answer, slots that do not erase, and putting back an older image of the flash.
//!
//! The network is the set of all that was ever sent: delivering a message
//! again is always possible, delivering it never is too.

mod device;
mod properties;

use device::{Device, Faults, Flash, Slot, TICK_S, act_of};
use nrd_agent::core::{Delegated, Event, Granted, Renewal, Sent};
use nrd_agent::lease::LeaseStatus;
use nrd_agent::order::Verdict;
use nrd_agent::state::{PersistedState, State, Tombstone};
use nrd_agent::wire::{
    ActivationId, DeviceId, KeyVersion, LeaseTerms, LockReason, Order, OrderKind, OrderSeq,
    PolicyVersion, TermBounds, TrustVersion, WipeReason,
};
use stateright::{Model, Property};
use std::collections::BTreeSet;

/// The function of the agent that this model runs.
pub const DEVICE: &str = "nrd_agent::core::Core::handle";

/// A rule to drop, to see its property fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Without {
    /// The boot goes by the snapshot although a tombstone stands.
    TombstoneFirst,
    /// The wipe leaves the counter as it is.
    Counter,
    /// The device holds an order against nothing but its own id.
    ActivationId,
    /// A receipt is forgotten when the next owner comes.
    ReceiptKept,
    /// The service calls a removal proven as soon as it is delivered.
    Proof,
    /// A new order key leaves waiting orders as they were signed.
    SignedAgain,
    /// The device uses a new token before it is on flash.
    PersistFirst,
    /// A retired token is taken for good.
    TheftRule,
    /// Keys stay in RAM although the machine asks to forget them.
    CloseFirst,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Owners, one after another.
    pub owners: u8,
    /// Cuts of the power.
    pub cuts: u8,
    /// Renewals.
    pub renewals: u8,
    /// Older images put back.
    pub restores: u8,
    /// New order keys.
    pub rotations: u8,
    /// Ticks of powered time, 1,000 seconds each.
    pub ticks: u8,
    /// Parts that stop doing what they are asked; each may recover.
    pub faults: u8,
    /// What people do at the device: sign out, cancel, deactivate.
    pub people: u8,
}

impl Bounds {
    /// Nothing happens but what the device does.
    const NONE: Bounds = Bounds {
        owners: 1,
        cuts: 0,
        renewals: 0,
        restores: 0,
        rotations: 0,
        ticks: 0,
        faults: 0,
        people: 0,
    };
    /// Two owners, a new order key, and a person at the device.
    pub const OWNERS: Bounds = Bounds {
        owners: 2,
        rotations: 1,
        people: 1,
        ..Bounds::NONE
    };
    /// The power goes at any moment.
    pub const CUTS: Bounds = Bounds {
        cuts: 1,
        renewals: 1,
        ticks: 1,
        people: 1,
        ..Bounds::NONE
    };
    /// An older image is put back.
    pub const IMAGES: Bounds = Bounds {
        cuts: 1,
        renewals: 2,
        restores: 1,
        ticks: 2,
        ..Bounds::NONE
    };
    /// Time until the dead-man comes.
    pub const LONG: Bounds = Bounds {
        ticks: 5,
        renewals: 1,
        ..Bounds::NONE
    };
    /// A part fails, and may recover.
    pub const FAULTS: Bounds = Bounds {
        ticks: 1,
        faults: 1,
        people: 1,
        ..Bounds::NONE
    };
    /// What the tests explore, each with its name.
    pub const TESTED: [(&str, Bounds); 5] = [
        ("owners", Bounds::OWNERS),
        ("cuts", Bounds::CUTS),
        ("images", Bounds::IMAGES),
        ("long", Bounds::LONG),
        ("faults", Bounds::FAULTS),
    ];
    /// Minutes: more than ten million states.
    pub const LARGE: Bounds = Bounds {
        owners: 2,
        cuts: 1,
        renewals: 1,
        rotations: 1,
        ticks: 1,
        people: 1,
        ..Bounds::NONE
    };
}

/// The model.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// How far to look.
    pub bounds: Bounds,
    /// The rule that is dropped.
    pub without: Option<Without>,
}

/// One activation: the nth attempt's.
type Act = u8;

/// A message, once sent never gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Grant { act: Act, epoch: u64 },
    Order { act: Act, epoch: u64, key: u32 },
    Lease { act: Act, generation: u8 },
    Receipt { act: Act, clean: bool },
    Stored { act: Act, place: u8 },
    Delegation { key: u32 },
}

/// An activation at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Row {
    epoch: u64,
    /// The highest generation used.
    used: u8,
    revoked: bool,
    /// Another activation of the same device and epoch came after it.
    ended: bool,
    theft: bool,
    /// A person removed it; the order's key version.
    order: Option<u32>,
    proven: bool,
    /// A receipt said that something would not erase.
    failed: bool,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    device: Device,
    image: Option<Flash>,
    rows: Vec<Row>,
    order_key: u32,
    sent: BTreeSet<Message>,
    left: Bounds,
    /// Powered time that has passed since a boot was done, in ticks, and when the
    /// lease in force began.
    passed: u32,
    leased_at: u32,
    /// Ticks that began with access open: each is open for what was charged, and
    /// closed after it.
    open: u32,
    /// Ghosts: activations whose tombstone was durable, whose keys and data
    /// are gone, that an older image was put over or brought back, that a person
    /// asked to end, that a person has signed out, that reached the device.
    committed: BTreeSet<Act>,
    asked: BTreeSet<Act>,
    wiped: BTreeSet<Act>,
    forked: BTreeSet<Act>,
    signed_out: BTreeSet<Act>,
    held: BTreeSet<Act>,
    /// A wipe that nobody was entitled to; a retired token that passed; a receipt
    /// that proves something went without having been delivered.
    wronged: bool,
    let_through: bool,
    receipt_lost: bool,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A person presses "activate"; a new owner, where there was one before.
    Activate,
    /// A message arrives.
    Deliver(Received),
    /// The device says what it has to say.
    Speak,
    /// The device carries out its next durable step.
    Work,
    /// It does, and the power goes before it knows.
    WorkAndCut,
    /// A person at the device wipes it.
    Here,
    /// A person at the device signs out.
    SignOut,
    /// A person at the device gives the attempt up.
    Cancel,
    /// A person removes an activation on the page.
    Remove(u8),
    /// The power goes.
    Cut,
    /// The power comes back.
    PowerOn,
    /// Powered time passes.
    Tick,
    /// Someone copies the flash.
    Copy,
    /// Someone puts the copy back.
    Restore,
    /// The service gets a new order key.
    Rotate,
    /// The journal takes no more writes, or takes them again.
    Journal,
    /// The counter does not answer any more, or answers again.
    Counter,
    /// The slots do not erase any more.
    Slots,
}

/// A message, opaque to the checker's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Received(Message);

const TERMS: LeaseTerms = LeaseTerms {
    renew_after_s: TICK_S,
    expires_after_s: 3 * TICK_S,
    max_boots: 1000,
    dead_man_s: 2 * TICK_S,
};

/// What the root allows: no more and no less than the terms.
const BOUNDS: TermBounds = TermBounds {
    expires_min_s: TICK_S,
    expires_max_s: 4 * TICK_S,
    boots_min: 1,
    dead_man_min_s: TICK_S,
};

fn id(act: Act) -> ActivationId {
    ActivationId([act + 1; 16])
}

impl World {
    /// The activation that the device is of, by what it holds in force.
    fn holds(&self) -> Option<Act> {
        match &self.device.core.as_ref()?.held().state {
            PersistedState::Active(a) => act_of(&a.id),
            PersistedState::SignedOut(s) => act_of(&s.id),
            PersistedState::Activating(t) => act_of(&t.id),
            PersistedState::Clean | PersistedState::Failed | PersistedState::Filling => None,
        }
    }

    /// Tells the device something, and notes what it means.
    fn tell(&mut self, event: Event<'_>) -> bool {
        let before = self.device.wipes().copied();
        let lease = self.holds();
        let told = self.device.tell(event);
        self.note(before.is_some(), lease, event);
        told
    }

    /// A wipe that has just begun must have a cause.
    fn note(&mut self, wiped_before: bool, held: Option<Act>, event: Event<'_>) {
        let Some(t) = self.device.wipes().copied() else {
            return;
        };
        // One that goes on after a boot had its cause before.
        if wiped_before || self.device.flash.tombstone.is_some() {
            return;
        }
        let forked = held.is_none_or(|act| self.forked.contains(&act));
        let entitled = match t.reason {
            WipeReason::Order | WipeReason::Local => true,
            WipeReason::Abandoned => !matches!(event, Event::Tick),
            WipeReason::VisitEnded => false,
            WipeReason::DeadMan => {
                let least = TERMS.expires_after_s + TERMS.dead_man_s;
                forked || (self.passed - self.leased_at) * TICK_S >= least
            }
            // An epoch has passed: by an image put back, or a wipe whose tombstone
            // could not be written. Or a slot would not erase at a sign-out.
            WipeReason::Recovered => {
                forked
                    || held.is_some_and(|act| {
                        self.committed.contains(&act) || self.asked.contains(&act)
                    })
            }
        };
        self.wronged |= !entitled;
    }

    /// A tombstone that is on flash, or a counter that has passed the epoch, ends
    /// an activation for good.
    fn note_commit(&mut self, under: Option<Tombstone>) {
        let standing = self.device.flash.tombstone;
        let raised = under.filter(|t| t.epoch < self.device.counter);
        for t in standing.into_iter().chain(raised) {
            self.committed.extend(act_of(&t.activation_id));
        }
    }

    fn work(&mut self, without: Option<Without>, cut: bool) -> Option<()> {
        let wiped_before = self.device.wipes().is_some();
        let held = self.holds();
        let under = self.device.wipes().copied();
        let kept = self.device.flash.receipts;
        let was_activating = matches!(self.device.state(), Some(State::Activating));
        self.device.work(without, cut)?;
        self.note(wiped_before, held, Event::Tick);
        self.note_commit(under);
        if self.device.state() == Some(State::SignedOut) && !self.device.is_engaged() {
            self.signed_out.extend(self.holds());
        }
        // What is destroyed is known by looking: with an activation, whatever its
        // epoch had before it.
        let blank = self.device.flash.vault.is_none() && self.device.flash.slot == Slot::Blank;
        let over = |t: Tombstone| t.epoch < self.device.counter || t.counter_worn_out;
        if blank && under.is_some_and(over) {
            let ended = under.filter(|_| self.device.state() == Some(State::Clean));
            let ended = ended.and_then(|t| act_of(&t.activation_id));
            for act in self.committed.iter().chain(&ended) {
                let epoch = self.rows[usize::from(*act)].epoch;
                let same = |n: &Act| self.rows[usize::from(*n)].epoch == epoch;
                self.wiped.extend((0..=*act).filter(same));
            }
        }
        // A receipt that proves something goes when it was delivered, or for one
        // that proves something as well.
        for (before, now) in kept.iter().zip(&self.device.flash.receipts) {
            let replaced = now != before && now.is_none_or(|n| n.act.is_none());
            if let Some(before) = before
                && replaced
                && let Some(act) = before.act
            {
                let row = &self.rows[usize::from(act)];
                self.receipt_lost |= !row.proven && !row.failed;
            }
        }
        if was_activating && self.device.state() == Some(State::Active) {
            self.held.extend(self.holds());
            self.leased_at = self.passed;
        }
        Some(())
    }
}

impl Protocol {
    fn lacks(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    fn deliver(&self, w: &mut World, message: Message) -> Option<()> {
        let listens = w.device.core.is_some() && !w.device.is_engaged();
        match message {
            Message::Receipt { act, clean } => {
                // A wipe destroys whatever this epoch has left.
                let epoch = w.rows[usize::from(act)].epoch;
                let until = w.rows.iter_mut().take(usize::from(act) + 1);
                for row in until.filter(|r| r.epoch == epoch) {
                    row.proven |= clean;
                    row.failed |= !clean;
                }
                return Some(());
            }
            _ if !listens => return None,
            Message::Grant { act, epoch } => {
                w.device.next = Some((act, 1));
                let granted = Granted {
                    id: id(act),
                    epoch,
                    remember: true,
                    policy: PolicyVersion(1),
                    terms: TERMS,
                };
                if !w.tell(Event::Granted(&granted)) {
                    return None;
                }
            }
            Message::Order { act, epoch, key } => self.order(w, act, epoch, key)?,
            Message::Lease { act, generation } => {
                let (held, now) = w.device.token?;
                if held != act || generation != now + 1 {
                    return None;
                }
                w.device.next = Some((act, generation));
                let leased = w.tell(Event::Leased {
                    id: id(act),
                    renewal: Renewal {
                        terms: TERMS,
                        issued_at: 0,
                        policy: PolicyVersion(1),
                        token: true,
                    },
                    bounds: BOUNDS,
                });
                if !leased {
                    return None;
                }
                w.leased_at = w.passed;
            }
            Message::Stored { act, place } => {
                let kept = w.device.flash.receipts[usize::from(place)]?;
                if kept.act != Some(act) {
                    return None;
                }
                w.tell(Event::ReceiptDelivered(place));
            }
            Message::Delegation { key } => {
                let held = w.device.flash.delegation;
                w.tell(Event::Delegated(Delegated {
                    version: TrustVersion {
                        root: 0,
                        delegation: key,
                    },
                    order_key_falls: key < held,
                    none_held: held == 0,
                    time_version: 0,
                    time_floor: 0,
                }));
                if w.device.is_engaged() {
                    w.device.delegation = key;
                }
            }
        }
        Some(())
    }

    fn order(&self, w: &mut World, act: Act, epoch: u64, key: u32) -> Option<()> {
        let core = w.device.core.as_ref()?;
        if key != core.held().trust.delegation {
            return None;
        }
        let held = match w.device.wipes() {
            Some(t) => act_of(&t.activation_id),
            None => w.holds(),
        };
        // An attempt holds the activation before it as well, until it succeeds.
        let before = match &core.held().state {
            PersistedState::Activating(t) => t.before.as_ref().and_then(act_of),
            _ => None,
        };
        let bound = !self.lacks(Without::ActivationId);
        let device_id = DeviceId::new("NRD-MODEL")?;
        let order = Order {
            device_id,
            epoch: if bound { epoch } else { w.device.counter },
            activation_id: if bound { id(act) } else { id(held?) },
            key_version: KeyVersion(key),
            seq: OrderSeq(1),
            kind: OrderKind::Deactivate,
        };
        let digest = [act + 1; 32];
        let verdict = core.judge(&order, &digest, &device_id).ok()?;
        if verdict != Verdict::Apply(OrderKind::Deactivate) {
            return None;
        }
        let ours = held == Some(act) || before == Some(act);
        w.wronged |= !ours || w.rows[usize::from(act)].order.is_none();
        w.tell(Event::Order {
            order: &order,
            digest: &digest,
        });
        if self.lacks(Without::Proof) {
            w.rows[usize::from(act)].proven = true;
        }
        Some(())
    }

    /// The device's next request, fresh over the service's challenge; the
    /// answer may be lost, or arrive at any later time.
    fn speak(&self, w: &mut World) -> Option<()> {
        if w.device.is_engaged() {
            return None;
        }
        let (sent, _) = w.device.core.as_ref()?.next_ask()?;
        // Every reply carries the newest delegation where the device has an older
        // one.
        if w.device.core.as_ref()?.held().trust.delegation < w.order_key {
            w.sent.insert(Message::Delegation { key: w.order_key });
        }
        match sent {
            Sent::Hello => {
                w.tell(Event::Answered([1; 32]));
            }
            Sent::Receipt => {
                let place = w.device.core.as_ref()?.oldest_receipt()?;
                let kept = w.device.flash.receipts[usize::from(place)]?;
                match kept.act {
                    Some(act) => {
                        let clean = kept.clean;
                        w.sent.insert(Message::Receipt { act, clean });
                        let row = &w.rows[usize::from(act)];
                        if row.proven || row.failed {
                            w.sent.insert(Message::Stored { act, place });
                        }
                    }
                    None => {
                        w.tell(Event::ReceiptDelivered(place));
                    }
                }
            }
            Sent::Outcome => return None,
            Sent::SignedOut => {
                w.tell(Event::SignOutNoted);
            }
            Sent::Start | Sent::Poll => {
                let act = w.holds()?;
                let row = w.rows[usize::from(act)];
                if row.revoked && w.held.contains(&act) {
                    return None;
                }
                if row.revoked {
                    w.tell(Event::AttemptEnded);
                } else {
                    let epoch = row.epoch;
                    w.sent.insert(Message::Grant { act, epoch });
                }
            }
            Sent::CheckIn { renew } => self.check_in(w, renew)?,
        }
        Some(())
    }

    fn check_in(&self, w: &mut World, renew: bool) -> Option<()> {
        let act = w.holds()?;
        let row = &mut w.rows[usize::from(act)];
        if let Some(key) = row.order {
            let epoch = row.epoch;
            w.sent.insert(Message::Order { act, epoch, key });
            return Some(());
        }
        if row.revoked {
            w.tell(Event::Stated {
                id: id(act),
                reason: LockReason::Revoked,
            });
            return Some(());
        }
        for earlier in w.rows.iter_mut().take(usize::from(act)) {
            earlier.ended = true;
        }
        let row = &mut w.rows[usize::from(act)];
        let (_, generation) = w.device.token.filter(|(of, _)| *of == act)?;
        if generation < row.used && !self.lacks(Without::TheftRule) {
            row.theft = true;
            row.revoked = true;
            return Some(());
        }
        w.let_through |= generation < row.used;
        row.used = row.used.max(generation);
        if w.left.renewals > 0 && renew {
            w.left.renewals -= 1;
            w.sent.insert(Message::Lease {
                act,
                generation: generation + 1,
            });
        }
        Some(())
    }

    /// A person begins an attempt; the account holder consents at once.
    fn activate(&self, w: &mut World) -> Option<()> {
        if w.left.owners == 0 || w.device.is_engaged() {
            return None;
        }
        let act = w.rows.len() as Act;
        if !w.tell(Event::Start(id(act))) {
            return None;
        }
        w.left.owners -= 1;
        if self.lacks(Without::ReceiptKept) {
            w.device.flash.receipts = Default::default();
        }
        for row in w.rows.iter_mut().filter(|r| r.epoch < w.device.counter) {
            row.revoked = true;
        }
        w.rows.push(Row {
            epoch: w.device.counter,
            used: 1,
            ..Row::default()
        });
        Some(())
    }

    /// What a person does at the device.
    fn person(&self, w: &mut World, event: Event<'_>) -> Option<()> {
        if w.left.people == 0 || w.device.is_engaged() || w.device.wipes().is_some() {
            return None;
        }
        let known = w.holds().or_else(|| w.device.snapshot_act());
        if !w.tell(event) {
            return None;
        }
        w.left.people -= 1;
        w.asked.extend(known);
        Some(())
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut device = Device::new();
        device.power_on();
        vec![World {
            device,
            image: None,
            rows: Vec::new(),
            order_key: 1,
            sent: BTreeSet::new(),
            left: self.bounds,
            passed: 0,
            leased_at: 0,
            open: 0,
            committed: BTreeSet::new(),
            asked: BTreeSet::new(),
            wiped: BTreeSet::new(),
            forked: BTreeSet::new(),
            signed_out: BTreeSet::new(),
            held: BTreeSet::new(),
            wronged: false,
            let_through: false,
            receipt_lost: false,
        }]
    }

    fn actions(&self, w: &World, out: &mut Vec<Step>) {
        out.extend([Step::Work, Step::WorkAndCut, Step::Cut, Step::PowerOn]);
        out.extend([Step::Activate, Step::Speak, Step::Here, Step::SignOut]);
        out.extend([Step::Cancel, Step::Tick, Step::Copy, Step::Restore]);
        out.extend([Step::Rotate, Step::Journal, Step::Counter, Step::Slots]);
        out.extend((0..w.rows.len()).map(|n| Step::Remove(n as u8)));
        out.extend(w.sent.iter().map(|m| Step::Deliver(Received(*m))));
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut w = last.clone();
        match step {
            Step::Work => w.work(self.without, false)?,
            Step::WorkAndCut | Step::Cut => {
                if w.device.core.is_none() || w.left.cuts == 0 {
                    return None;
                }
                w.left.cuts -= 1;
                if step == Step::WorkAndCut {
                    w.work(self.without, true)?;
                } else {
                    w.device.power_off();
                }
            }
            Step::PowerOn if w.device.core.is_none() => w.device.power_on(),
            Step::Activate => self.activate(&mut w)?,
            Step::Speak => self.speak(&mut w)?,
            Step::Here => self.person(&mut w, Event::Deactivate)?,
            Step::SignOut => self.person(&mut w, Event::SignOut)?,
            Step::Cancel => self.person(&mut w, Event::Cancel)?,
            Step::Deliver(Received(m)) => self.deliver(&mut w, m)?,
            Step::Tick => {
                if w.device.core.is_none() || w.device.is_engaged() || w.left.ticks == 0 {
                    return None;
                }
                w.left.ticks -= 1;
                w.open += u32::from(w.device.serves().is_some());
                let booting = w.device.is_booting();
                w.passed += u32::from(!booting);
                w.device.up += 1;
                w.tell(Event::Tick);
            }
            step => self.mishap(&mut w, step)?,
        }
        (w != *last).then_some(w)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    /// What the page, the operator and the adversary do.
    fn mishap(&self, w: &mut World, step: Step) -> Option<()> {
        match step {
            Step::Remove(n) => {
                let row = &mut w.rows[usize::from(n)];
                if row.order.is_some() || row.proven || row.failed {
                    return None;
                }
                row.revoked = true;
                row.order = Some(w.order_key);
            }
            Step::Copy => {
                if w.image.is_some() || w.left.restores == 0 {
                    return None;
                }
                w.image = Some(w.device.flash.clone());
            }
            Step::Restore => {
                if w.device.core.is_some() || w.left.restores == 0 {
                    return None;
                }
                let image = w.image.clone()?;
                w.left.restores -= 1;
                // Whatever the old or the new content speaks of is no longer
                // one history: its receipt may be lost with the rest.
                w.forked.extend(0..w.rows.len() as Act);
                w.device.flash = image;
            }
            Step::Rotate => {
                if w.left.rotations == 0 {
                    return None;
                }
                w.left.rotations -= 1;
                w.order_key += 1;
                if !self.lacks(Without::SignedAgain) {
                    for order in w.rows.iter_mut().filter_map(|r| r.order.as_mut()) {
                        *order = w.order_key;
                    }
                }
            }
            Step::Journal => fault(w, |f| &mut f.journal)?,
            Step::Counter => fault(w, |f| &mut f.counter)?,
            Step::Slots => fault(w, |f| &mut f.slots)?,
            _ => return None,
        }
        Some(())
    }

    /// True when neither the device, nor the service, nor the network has
    /// anything left to do: only people, time and mishaps would go on.
    fn quiet(&self, w: &World) -> bool {
        let own = [Step::Speak, Step::Work, Step::PowerOn];
        let mut steps = w
            .sent
            .iter()
            .map(|m| Step::Deliver(Received(*m)))
            .chain(own);
        steps.all(|step| self.next_state(w, step).is_none())
    }
}

/// A part stops doing what it is asked, or does it again.
fn fault(w: &mut World, part: impl Fn(&mut Faults) -> &mut bool) -> Option<()> {
    let broken = part(&mut w.device.faults);
    if !*broken && w.left.faults == 0 {
        return None;
    }
    if !*broken {
        w.left.faults -= 1;
    }
    *broken = !*broken;
    Some(())
}

/// Access is open by the device's own arithmetic.
fn is_open(status: Option<LeaseStatus>) -> bool {
    matches!(status, Some(LeaseStatus::Open { .. }))
}
