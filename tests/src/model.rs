//! The protocol as a model, for a model checker: a device, its service, and a
//! network that loses, repeats, reorders and replays whatever was ever sent.
//!
//! What an order may do and when access closes are decided by the agent's own
//! pure core ([`evaluate`], [`StoredLease::status`]); what is written here is the
//! order in which the driver makes things durable. A cut of the power between
//! any two of these steps is a step of its own, and so is putting back an
//! older image of the flash.
//!
//! The network is the set of all that was ever sent: delivering a message
//! again is always possible, delivering it never is too.

use nrd_agent::lease::{LeaseStatus, Now, StoredLease};
use nrd_agent::order::{OrderContext, Verdict, evaluate};
use nrd_agent::wire::{ActivationId, DeviceId, KeyVersion, LeaseTerms, Order, OrderKind, OrderSeq};
use stateright::{Model, Property};
use std::collections::BTreeSet;

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
    /// Ticks of powered time.
    pub ticks: u8,
}

impl Bounds {
    /// Seconds, and enough for the dropping of any one rule to show.
    pub const SMALL: Bounds = Bounds {
        owners: 2,
        cuts: 1,
        renewals: 1,
        restores: 1,
        rotations: 1,
        ticks: 1,
    };
    /// One owner, and time until the dead-man comes.
    pub const LONG: Bounds = Bounds {
        owners: 1,
        cuts: 1,
        renewals: 1,
        restores: 0,
        rotations: 0,
        ticks: 5,
    };
    /// Minutes.
    pub const LARGE: Bounds = Bounds {
        cuts: 2,
        renewals: 2,
        ticks: 4,
        ..Bounds::SMALL
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

/// One activation: the nth owner's.
type Act = u8;

/// What the device has on flash: what an older image brings back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Flash {
    /// The snapshot: the activation, its epoch, whether access is closed.
    active: Option<Active>,
    /// The tombstone, and how far its wipe is.
    tombstone: Option<(Act, u8, Phase)>,
    /// The key slot: the activation and epoch that its key opens.
    slot: Option<(Act, u8)>,
    /// Account data of this activation lies in the vault.
    vault: Option<Act>,
    /// Receipts not delivered yet.
    receipts: BTreeSet<Act>,
    /// The activation attempt under way.
    attempt: Option<Act>,
    /// The newest order key it was told of.
    key: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Active {
    act: Act,
    epoch: u8,
    /// The token's generation on flash.
    generation: u8,
    /// PowerCut ticks when the lease was stored.
    since: u8,
    revoked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    Keys,
    Vault,
    Receipt,
}

/// A message, once sent never gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Grant { act: Act, epoch: u8 },
    Order { act: Act, epoch: u8, key: u8 },
    Lease { act: Act, generation: u8 },
    Receipt { act: Act },
    Stored { act: Act },
}

/// An activation at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Row {
    epoch: u8,
    /// The highest generation used.
    used: u8,
    revoked: bool,
    theft: bool,
    /// A person removed it; the order's key version.
    order: Option<u8>,
    proven: bool,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    flash: Flash,
    counter: u8,
    on: bool,
    /// The generation in RAM; may run ahead of flash only without
    /// [`Without::PersistFirst`].
    ram: u8,
    powered: u8,
    image: Option<Flash>,
    rows: Vec<Row>,
    order_key: u8,
    sent: BTreeSet<Message>,
    left: Bounds,
    /// Ghosts: activations whose tombstone was durable, whose keys and data
    /// are gone, that an older image was put over or brought back; and a wipe
    /// that nobody was entitled to.
    committed: BTreeSet<Act>,
    wiped: BTreeSet<Act>,
    forked: BTreeSet<Act>,
    wronged: bool,
    /// Activations that reached the device; and a retired token that passed.
    held: BTreeSet<Act>,
    let_through: bool,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A new owner types the code.
    Activate,
    /// A message arrives.
    Deliver(Sent),
    /// The device speaks up: a receipt, else a check-in.
    Speak,
    /// The wipe goes on by one durable step.
    Wipe,
    /// A person at the device wipes it.
    Here,
    /// A person removes an activation on the page.
    Remove(u8),
    /// The power goes.
    Cut,
    /// The power comes back: the boot.
    Boot,
    /// PowerCut time passes.
    Tick,
    /// Someone copies the flash.
    Copy,
    /// Someone puts the copy back.
    Restore,
    /// The service gets a new order key.
    Rotate,
}

/// A message, opaque to the checker's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sent(Message);

fn terms() -> LeaseTerms {
    LeaseTerms {
        renew_after_s: 1,
        expires_after_s: 2,
        max_boots: 1000,
        dead_man_s: 2,
    }
}

fn id(act: Act) -> ActivationId {
    ActivationId([act + 1; 16])
}

impl World {
    /// What the agent's own lease arithmetic says.
    fn standing(&self, a: &Active) -> LeaseStatus {
        let lease = StoredLease {
            terms: terms(),
            stored_at_s: u32::from(a.since),
            stored_in_boot: 0,
            issued_at: 0,
        };
        lease.status(Now {
            powered_s: u32::from(self.powered),
            boot: 0,
            wall_s: None,
        })
    }

    /// The activation whose data the device would serve now.
    fn serves(&self) -> Option<Act> {
        let a = self.flash.active?;
        let open = self.on && self.flash.tombstone.is_none() && !a.revoked;
        let keys = self.flash.slot == Some((a.act, a.epoch)) && a.epoch == self.counter;
        let lease = matches!(self.standing(&a), LeaseStatus::Open { .. });
        (open && keys && lease && self.flash.vault == Some(a.act)).then_some(a.act)
    }

    fn begin_wipe(&mut self, act: Act) {
        self.flash.tombstone = Some((act, self.counter, Phase::Keys));
        self.committed.insert(act);
        self.ram = 0;
    }
}

impl Protocol {
    fn lacks(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    fn boot(&self, w: &mut World) {
        w.on = true;
        if w.flash.tombstone.is_some() && !self.lacks(Without::TombstoneFirst) {
            return;
        }
        if self.lacks(Without::TombstoneFirst) {
            w.flash.tombstone = None;
        }
        let Some(a) = w.flash.active else { return };
        if a.epoch < w.counter {
            // The counter passed this state: finish what it says.
            w.begin_wipe(a.act);
            return;
        }
        w.ram = a.generation;
    }

    fn wipe(&self, w: &mut World) -> Option<()> {
        let (act, epoch, phase) = w.flash.tombstone?;
        match phase {
            Phase::Keys => {
                if w.counter == epoch && !self.lacks(Without::Counter) {
                    w.counter += 1;
                }
                w.flash.slot = None;
                w.flash.tombstone = Some((act, epoch, Phase::Vault));
            }
            Phase::Vault => {
                w.flash.vault = None;
                w.wiped.insert(act);
                w.flash.tombstone = Some((act, epoch, Phase::Receipt));
            }
            Phase::Receipt => {
                w.flash.receipts.insert(act);
                w.flash.active = None;
                w.flash.attempt = None;
                w.flash.tombstone = None;
            }
        }
        Some(())
    }

    #[expect(clippy::too_many_lines, reason = "one message an arm")]
    fn to_device(&self, w: &mut World, message: Message) -> Option<()> {
        if !w.on {
            return None;
        }
        match message {
            Message::Grant { act, epoch } => {
                let attempt = w.flash.attempt == Some(act) && w.flash.tombstone.is_none();
                if !attempt || epoch != w.counter {
                    return None;
                }
                w.flash.attempt = None;
                w.flash.slot = Some((act, epoch));
                w.flash.vault = Some(act);
                w.flash.active = Some(Active {
                    act,
                    epoch,
                    generation: 1,
                    since: w.powered,
                    revoked: false,
                });
                w.ram = 1;
                w.held.insert(act);
                if self.lacks(Without::ReceiptKept) {
                    w.flash.receipts.clear();
                }
            }
            Message::Order { act, epoch, key } => {
                if key != w.flash.key {
                    return None;
                }
                let held = match w.flash.tombstone {
                    Some((act, ..)) => Some(act),
                    None => w.flash.active.map(|a| a.act),
                };
                let device = DeviceId::new("NRD-MODEL")?;
                let order = Order {
                    device_id: device,
                    epoch: u64::from(epoch),
                    activation_id: id(act),
                    key_version: KeyVersion(u32::from(key)),
                    seq: OrderSeq(1),
                    kind: OrderKind::Deactivate,
                };
                let bound = !self.lacks(Without::ActivationId);
                let activation_id = if bound { held.map(id) } else { Some(id(act)) };
                let verdict = evaluate(
                    &order,
                    &OrderContext {
                        device_id: &device,
                        epoch: if bound {
                            u64::from(w.counter)
                        } else {
                            order.epoch
                        },
                        activation_id: activation_id.as_ref(),
                        wiping: w.flash.tombstone.is_some(),
                        seen: None,
                    },
                );
                if verdict != Verdict::Apply(OrderKind::Deactivate) {
                    return None;
                }
                let held = held?;
                w.wronged |= held != act || w.rows[usize::from(act)].order.is_none();
                w.begin_wipe(held);
                if self.lacks(Without::Proof) {
                    w.rows[usize::from(act)].proven = true;
                }
            }
            Message::Lease { act, generation } => {
                let since = w.powered;
                let mut a = w.flash.active.filter(|a| a.act == act)?;
                if w.flash.tombstone.is_some() || generation != w.ram + 1 {
                    return None;
                }
                w.ram = generation;
                if !self.lacks(Without::PersistFirst) {
                    a.generation = generation;
                }
                a.since = since;
                w.flash.active = Some(a);
            }
            Message::Stored { act } => {
                if !w.flash.receipts.remove(&act) {
                    return None;
                }
            }
            Message::Receipt { .. } => return None,
        }
        Some(())
    }

    fn to_service(&self, w: &mut World, message: Message) -> Option<()> {
        let Message::Receipt { act } = message else {
            return None;
        };
        w.rows[usize::from(act)].proven = true;
        w.sent.insert(Message::Stored { act });
        Some(())
    }

    /// The device's next request, fresh over the service's challenge; the
    /// answer may be lost, or arrive at any later time.
    fn speak(&self, w: &mut World) -> Option<()> {
        if !w.on || w.flash.tombstone.is_some() {
            return None;
        }
        if let Some(&act) = w.flash.receipts.iter().next() {
            w.sent.insert(Message::Receipt { act });
            return Some(());
        }
        let a = w.flash.active?;
        // Every reply carries the newest delegation.
        w.flash.key = w.flash.key.max(w.order_key);
        let row = &mut w.rows[usize::from(a.act)];
        if let Some(key) = row.order {
            w.sent.insert(Message::Order {
                act: a.act,
                epoch: row.epoch,
                key,
            });
            return Some(());
        }
        if row.revoked {
            if let Some(a) = &mut w.flash.active {
                a.revoked = true;
            }
            return Some(());
        }
        if w.ram < row.used && !self.lacks(Without::TheftRule) {
            row.theft = true;
            row.revoked = true;
            return Some(());
        }
        w.let_through |= w.ram < row.used;
        row.used = row.used.max(w.ram);
        if w.left.renewals > 0 && !matches!(w.standing(&a), LeaseStatus::Open { renew: false, .. })
        {
            w.left.renewals -= 1;
            w.sent.insert(Message::Lease {
                act: a.act,
                generation: w.ram + 1,
            });
        }
        Some(())
    }
}

impl Protocol {
    /// True when neither the device, nor the service, nor the network has
    /// anything left to do: only people, time and mishaps would go on.
    fn quiet(&self, w: &World) -> bool {
        let own = [Step::Speak, Step::Wipe, Step::Boot];
        let mut steps = w.sent.iter().map(|m| Step::Deliver(Sent(*m))).chain(own);
        steps.all(|step| self.next_state(w, step).is_none())
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            flash: Flash {
                key: 1,
                ..Flash::default()
            },
            counter: 0,
            on: true,
            ram: 0,
            powered: 0,
            image: None,
            rows: Vec::new(),
            order_key: 1,
            sent: BTreeSet::new(),
            left: self.bounds,
            committed: BTreeSet::new(),
            wiped: BTreeSet::new(),
            forked: BTreeSet::new(),
            wronged: false,
            held: BTreeSet::new(),
            let_through: false,
        }]
    }

    fn actions(&self, w: &World, out: &mut Vec<Step>) {
        out.extend([
            Step::Activate,
            Step::Speak,
            Step::Wipe,
            Step::Here,
            Step::Cut,
        ]);
        out.extend([
            Step::Boot,
            Step::Tick,
            Step::Copy,
            Step::Restore,
            Step::Rotate,
        ]);
        out.extend((0..w.rows.len()).map(|n| Step::Remove(n as u8)));
        out.extend(w.sent.iter().map(|m| Step::Deliver(Sent(*m))));
    }

    #[expect(clippy::too_many_lines, reason = "one event an arm")]
    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut w = last.clone();
        match step {
            Step::Activate => {
                let free = w.on
                    && w.flash.active.is_none()
                    && w.flash.tombstone.is_none()
                    && w.flash.attempt.is_none();
                // The next owner has the device in hand, clean.
                if !free || w.left.owners == 0 || w.flash.slot.is_some() {
                    return None;
                }
                w.left.owners -= 1;
                for row in w.rows.iter_mut().filter(|r| r.epoch < w.counter) {
                    row.revoked = true;
                }
                w.flash.attempt = Some(w.rows.len() as u8);
                w.sent.insert(Message::Grant {
                    act: w.rows.len() as u8,
                    epoch: w.counter,
                });
                w.rows.push(Row {
                    epoch: w.counter,
                    used: 1,
                    ..Row::default()
                });
            }
            Step::Deliver(Sent(m)) => self
                .to_device(&mut w, m)
                .or_else(|| self.to_service(&mut w, m))?,
            Step::Speak => self.speak(&mut w)?,
            Step::Wipe if w.on => self.wipe(&mut w)?,
            Step::Here => {
                let held = w
                    .flash
                    .active
                    .filter(|_| w.on && w.flash.tombstone.is_none())?;
                w.begin_wipe(held.act);
            }
            Step::Remove(n) => {
                let row = &mut w.rows[usize::from(n)];
                if row.order.is_some() || row.proven {
                    return None;
                }
                row.revoked = true;
                row.order = Some(w.order_key);
            }
            Step::Cut => {
                if !w.on || w.left.cuts == 0 {
                    return None;
                }
                w.left.cuts -= 1;
                w.on = false;
                w.ram = 0;
            }
            Step::Boot if !w.on => self.boot(&mut w),
            Step::Tick => {
                if !w.on || w.left.ticks == 0 {
                    return None;
                }
                w.left.ticks -= 1;
                w.powered += 1;
                let held = w.flash.active.filter(|_| w.flash.tombstone.is_none());
                if let Some(a) = held
                    && w.standing(&a) == LeaseStatus::DeadMan
                {
                    w.begin_wipe(a.act);
                }
            }
            Step::Copy => {
                if w.image.is_some() || w.left.restores == 0 {
                    return None;
                }
                w.image = Some(w.flash.clone());
            }
            Step::Restore => {
                if w.on || w.left.restores == 0 {
                    return None;
                }
                let image = w.image.clone()?;
                w.left.restores -= 1;
                // Whatever the old or the new content speaks of is no longer
                // one history: its receipt may be lost with the rest.
                for flash in [&image, &w.flash] {
                    w.forked.extend(flash.active.map(|a| a.act));
                    w.forked.extend(flash.tombstone.map(|(act, ..)| act));
                    w.forked.extend(flash.attempt);
                    w.forked.extend(&flash.receipts);
                }
                w.flash = image;
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
            _ => return None,
        }
        (w != *last).then_some(w)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("1: nothing is served after a tombstone", |_, w: &World| {
                // An image from before the tombstone, put back before the
                // counter's step, is the case that promise 1 names.
                w.serves().is_none_or(|a| {
                    !w.wiped.contains(&a) && (!w.committed.contains(&a) || w.forked.contains(&a))
                })
            }),
            Property::always("2: no cut loses a session", |_, w: &World| {
                w.flash.active.is_none_or(|a| {
                    let gone = w.committed.contains(&a.act) || w.forked.contains(&a.act);
                    gone || w.flash.slot == Some((a.act, a.epoch))
                })
            }),
            Property::always(
                "4: only an order for this activation destroys",
                |_, w: &World| !w.wronged,
            ),
            Property::always("an honest device is no thief", |_, w: &World| {
                w.rows
                    .iter()
                    .zip(0..)
                    .all(|(r, n)| !r.theft || w.forked.contains(&n))
            }),
            Property::always("what is called proven is wiped", |_, w: &World| {
                w.rows
                    .iter()
                    .zip(0..)
                    .all(|(r, n)| !r.proven || w.wiped.contains(&n))
            }),
            Property::always("a retired token opens nothing", |_, w: &World| {
                !w.let_through
            }),
            Property::always("6: every removal ends proven", |model, w: &World| {
                // Every step of device, service and network only goes forward,
                // so they come to rest; what is then unproven is so for ever.
                !model.quiet(w)
                    || w.rows.iter().zip(0..).all(|(r, n)| {
                        let known = w.held.contains(&n) && !w.forked.contains(&n);
                        r.order.is_none() || r.proven || !known
                    })
            }),
            Property::sometimes("an order wipes and is proven", |_, w: &World| {
                w.rows.iter().any(|r| r.order.is_some() && r.proven)
            }),
            Property::sometimes("a fork is found out", |_, w: &World| {
                w.rows.iter().any(|r| r.theft)
            }),
            Property::sometimes("the dead-man wipes", |_, w: &World| {
                w.powered >= 4
                    && !w.committed.is_empty()
                    && w.rows.iter().all(|r| r.order.is_none())
            }),
            Property::sometimes("a second owner is served", |_, w: &World| {
                w.serves() == Some(1)
            }),
        ]
    }
}
