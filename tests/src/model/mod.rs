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

mod bounds;
mod conversation;
mod device;
mod properties;

pub use bounds::{Bounds, Without};

use device::{Device, Faults, Flash, Slot, TICK_S, act_of};
use nrd_agent::core::Event;
use nrd_agent::lease::LeaseStatus;
use nrd_agent::state::{PersistedState, State, Tombstone};
use nrd_agent::wire::{ActivationId, LeaseTerms, TermBounds, WipeReason};
use stateright::{Model, Property};
use std::collections::BTreeSet;

/// The function of the agent that this model runs.
pub const DEVICE: &str = "nrd_agent::core::Core::handle";

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
    /// What is written lands and is reported as failed, or no longer.
    Lying,
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
        out.extend([Step::Rotate, Step::Journal, Step::Lying]);
        out.extend([Step::Counter, Step::Slots]);
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
            Step::Lying => fault(w, |f| &mut f.lying)?,
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
