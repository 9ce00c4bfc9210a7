//! What must hold in every state, and what must be reachable.

use super::device::Slot;
use super::{Protocol, World, act_of, is_open};
use nrd_agent::core::CHARGE_S;
use nrd_agent::state::{PersistedState, State};
use nrd_agent::wire::LockReason;
use stateright::Property;

/// The promises, and the rules 30 and 34, as properties.
#[expect(clippy::too_many_lines, reason = "one property after the other")]
pub(super) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("1: nothing is served after a tombstone", |_, w: &World| {
            // An image from before the tombstone, put back before the
            // counter's step, is the case that promise 1 names.
            w.device.serves().is_none_or(|a| {
                !w.wiped.contains(&a) && (!w.committed.contains(&a) || w.forked.contains(&a))
            })
        }),
        Property::always("2: no cut loses a session", |_, w: &World| {
            let Some(snapshot) = &w.device.flash.snapshot else {
                return true;
            };
            let PersistedState::Active(a) = &snapshot.state else {
                return true;
            };
            act_of(&a.id).is_none_or(|act| {
                let gone = [&w.committed, &w.forked, &w.asked];
                gone.iter().any(|set| set.contains(&act))
                    || (w.device.flash.slot == Slot::Key(act, a.epoch)
                        && w.device.flash.vault.is_some_and(|(of, _)| of == act))
            })
        }),
        Property::always("3: clean means blank", |_, w: &World| {
            w.device.state() != Some(State::Clean)
                || (w.device.flash.slot == Slot::Blank && w.device.flash.vault.is_none())
                || !w.forked.is_empty()
        }),
        Property::always(
            "4: only an order for this activation destroys",
            |_, w: &World| !w.wronged,
        ),
        Property::always("closed counts at once", |_, w: &World| {
            w.device
                .serves()
                .is_none_or(|a| !w.signed_out.contains(&a) || w.forked.contains(&a))
        }),
        Property::always("no key outlives its closing", |_, w: &World| {
            let closed = match w.device.state() {
                Some(State::Wiping) => w.device.wipes().is_some_and(|_| !w.device.is_engaged()),
                Some(State::Clean | State::SignedOut) => !w.device.is_engaged(),
                _ => false,
            };
            !closed || w.device.token.is_none()
        }),
        Property::always("open time is charged time", |_, w: &World| {
            let charged = w.device.flash.snapshot.map_or(0, |s| s.charged_s);
            w.device.serves().is_none() || w.open * CHARGE_S <= charged || !w.forked.is_empty()
        }),
        Property::always("a lease ends", |_, w: &World| {
            let core = w.device.core.as_ref();
            w.device.serves().is_none() || is_open(core.and_then(|c| c.lease_status()))
        }),
        Property::always("a receipt that proves stays", |_, w: &World| {
            !w.receipt_lost || !w.forked.is_empty()
        }),
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
                .all(|(r, n)| !r.proven || w.wiped.contains(&n) || !w.held.contains(&n))
        }),
        Property::always("a retired token opens nothing", |_, w: &World| {
            !w.let_through
        }),
        Property::always("6: every removal ends proven, failed or pending", ends),
        Property::sometimes("an order wipes and is proven", |_, w: &World| {
            w.rows.iter().any(|r| r.order.is_some() && r.proven)
        }),
        Property::sometimes("a fork is found out", |_, w: &World| {
            w.rows.iter().any(|r| r.theft)
        }),
        Property::sometimes("the dead-man wipes", |_, w: &World| {
            let reason = nrd_agent::wire::WipeReason::DeadMan;
            w.device.wipes().is_some_and(|t| t.reason == reason)
        }),
        Property::sometimes("a second owner is served", |_, w: &World| {
            w.device.serves() == Some(1)
        }),
        Property::sometimes("a failed wipe is reported", |_, w: &World| {
            w.rows.iter().any(|r| r.failed)
        }),
        Property::sometimes("an unwritable journal closes", |_, w: &World| {
            w.device.state() == Some(State::Locked(LockReason::NotStored))
        }),
    ]
}

/// Every step of device, service and network only goes forward, so they come to
/// rest; what is then unproven is so for ever, and must be seen to be.
fn ends(model: &Protocol, w: &World) -> bool {
    let faults = w.device.faults;
    let broken = faults.journal || faults.lying || faults.counter || faults.slots;
    if !w.rows.iter().any(|r| r.order.is_some() && !r.proven) || broken || !model.quiet(w) {
        return true;
    }
    w.rows.iter().zip(0..).all(|(r, n)| {
        let known = w.held.contains(&n) && !w.forked.contains(&n);
        r.order.is_none() || r.proven || r.failed || r.ended || !known
    })
}
