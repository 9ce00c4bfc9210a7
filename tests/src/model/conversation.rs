//! What messages, the service and people do to the world.

use super::device::act_of;
use super::{Act, BOUNDS, Message, Protocol, Row, TERMS, Without, World, id};
use nrd_agent::core::{Delegated, Event, Granted, Renewal, Sent};
use nrd_agent::order::Verdict;
use nrd_agent::state::PersistedState;
use nrd_agent::wire::{
    DeviceId, KeyVersion, LockReason, Order, OrderKind, OrderSeq, PolicyVersion, TrustVersion,
};

impl Protocol {
    pub(super) fn lacks(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    pub(super) fn deliver(&self, w: &mut World, message: Message) -> Option<()> {
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
                    id: &id(act),
                    renewal: &Renewal {
                        terms: TERMS,
                        issued_at: 0,
                        policy: PolicyVersion(1),
                        token: true,
                    },
                    bounds: &BOUNDS,
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
                w.tell(Event::Delegated(&Delegated {
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
    pub(super) fn speak(&self, w: &mut World) -> Option<()> {
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
                w.tell(Event::Answered(&[1; 32]));
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
                id: &id(act),
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
    pub(super) fn activate(&self, w: &mut World) -> Option<()> {
        if w.left.owners == 0 || w.device.is_engaged() {
            return None;
        }
        let act = w.rows.len() as Act;
        if !w.tell(Event::Start(&id(act))) {
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
    pub(super) fn person(&self, w: &mut World, event: Event<'_>) -> Option<()> {
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
