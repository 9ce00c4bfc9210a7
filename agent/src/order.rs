//! Judging an order whose signature has been verified. Pure.

use crate::wire::codec::Wire;
use crate::wire::{ActivationId, DeviceId, KeyVersion, Order, OrderKind, OrderResult, OrderSeq};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// The device's side of the question whether an order applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderContext<'a> {
    /// This device.
    pub device_id: &'a DeviceId,
    /// The counter.
    pub epoch: u64,
    /// The activation the device holds or is wiping, if any.
    pub activation_id: Option<&'a ActivationId>,
    /// A wipe of that activation is under way.
    pub wiping: bool,
    /// The highest sequence number applied per order key version, if any was.
    pub seen: Option<&'a SeenOrders>,
}

/// The decision about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Persist the sequence number, then act.
    Apply(OrderKind),
    /// Change nothing and answer this.
    Answer(OrderResult),
}

/// Judges an order. Wipe is terminal: an order to deactivate that is bound to
/// this very activation is never refused for its sequence number.
///
/// ```
/// use nrd_agent::order::{OrderContext, SeenOrders, Verdict, evaluate};
/// use nrd_agent::wire::{
///     ActivationId, DeviceId, KeyVersion, Order, OrderKind, OrderResult, OrderSeq,
/// };
///
/// let device_id = DeviceId::new("NRD-TEST-0001").unwrap();
/// let activation_id = ActivationId([7; 16]);
/// let mut seen = SeenOrders::default();
/// seen.note(KeyVersion(1), OrderSeq(9));
/// let context = OrderContext {
///     device_id: &device_id,
///     epoch: 4,
///     activation_id: Some(&activation_id),
///     wiping: false,
///     seen: Some(&seen),
/// };
///
/// // An order that was held back on its way, sent before the ninth.
/// let late = |kind| Order {
///     device_id,
///     epoch: 4,
///     activation_id,
///     key_version: KeyVersion(1),
///     seq: OrderSeq(8),
///     kind,
/// };
/// let sign_out = evaluate(&late(OrderKind::SignOut), &context);
/// assert_eq!(sign_out, Verdict::Answer(OrderResult::Stale));
/// let deactivate = evaluate(&late(OrderKind::Deactivate), &context);
/// assert_eq!(deactivate, Verdict::Apply(OrderKind::Deactivate));
///
/// // One for an earlier owner of the device never applies.
/// let earlier = Order { epoch: 3, ..late(OrderKind::Deactivate) };
/// let verdict = evaluate(&earlier, &context);
/// assert_eq!(verdict, Verdict::Answer(OrderResult::NotApplicable));
/// ```
pub fn evaluate(order: &Order, context: &OrderContext<'_>) -> Verdict {
    let ours = order.device_id == *context.device_id
        && order.epoch == context.epoch
        && context.activation_id == Some(&order.activation_id);
    if !ours {
        return Verdict::Answer(OrderResult::NotApplicable);
    }
    if order.kind.is_terminal() {
        return if context.wiping {
            Verdict::Answer(OrderResult::AlreadyApplied)
        } else {
            Verdict::Apply(order.kind)
        };
    }
    if context.wiping {
        return Verdict::Answer(OrderResult::NotApplicable);
    }
    match context.seen.and_then(|seen| seen.last(order.key_version)) {
        Some(last) if order.seq == last => Verdict::Answer(OrderResult::AlreadyApplied),
        Some(last) if order.seq < last => Verdict::Answer(OrderResult::Stale),
        Some(_) | None => Verdict::Apply(order.kind),
    }
}

/// The highest applied sequence number for the two newest order key versions
/// of one activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct SeenOrders {
    newest: Option<(KeyVersion, OrderSeq)>,
    older: Option<(KeyVersion, OrderSeq)>,
}

impl SeenOrders {
    /// The highest sequence number seen under `version`.
    pub fn last(&self, version: KeyVersion) -> Option<OrderSeq> {
        match (&self.newest, &self.older) {
            (Some((v, seq)), _) if *v == version => Some(*seq),
            (_, Some((v, seq))) if *v == version => Some(*seq),
            _ => None,
        }
    }

    /// Notes an applied order.
    pub fn note(&mut self, version: KeyVersion, seq: OrderSeq) {
        let SeenOrders { newest, older } = self;
        match newest {
            Some((v, s)) if *v == version => *s = seq.max(*s),
            Some((v, _)) if *v > version => *older = Some((version, seq)),
            _ => {
                *older = newest.take();
                *newest = Some((version, seq));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceId {
        DeviceId::new("NRD-TEST-1").unwrap()
    }

    fn order(kind: OrderKind) -> Order {
        Order {
            device_id: device(),
            epoch: 4,
            activation_id: ActivationId([7; 16]),
            key_version: KeyVersion(2),
            seq: OrderSeq(5),
            kind,
        }
    }

    fn judged(order: &Order, seen: &SeenOrders, wiping: bool) -> Verdict {
        evaluate(
            order,
            &OrderContext {
                device_id: &device(),
                epoch: 4,
                activation_id: Some(&ActivationId([7; 16])),
                wiping,
                seen: Some(seen),
            },
        )
    }

    #[test]
    fn an_order_for_another_device_epoch_or_activation_never_applies() {
        let seen = SeenOrders::default();
        let na = Verdict::Answer(OrderResult::NotApplicable);
        for kind in [OrderKind::Deactivate, OrderKind::SignOut] {
            let good = order(kind);
            assert_eq!(judged(&good, &seen, false), Verdict::Apply(kind));
            let mut o = good;
            o.epoch = 3;
            assert_eq!(judged(&o, &seen, false), na);
            o.epoch = 5;
            assert_eq!(judged(&o, &seen, false), na);
            let mut o = good;
            o.activation_id = ActivationId([8; 16]);
            assert_eq!(judged(&o, &seen, false), na);
            let mut o = good;
            o.device_id = DeviceId::new("NRD-TEST-2").unwrap();
            assert_eq!(judged(&o, &seen, false), na);
        }
    }

    #[test]
    fn a_wipe_is_never_refused_for_its_sequence_but_a_sign_out_is() {
        let mut seen = SeenOrders::default();
        seen.note(KeyVersion(2), OrderSeq(u64::MAX));
        assert_eq!(
            judged(&order(OrderKind::Deactivate), &seen, false),
            Verdict::Apply(OrderKind::Deactivate)
        );
        assert_eq!(
            judged(&order(OrderKind::SignOut), &seen, false),
            Verdict::Answer(OrderResult::Stale)
        );
    }

    #[test]
    fn a_replayed_order_is_answered_already_applied() {
        let mut seen = SeenOrders::default();
        seen.note(KeyVersion(2), OrderSeq(5));
        assert_eq!(
            judged(&order(OrderKind::SignOut), &seen, false),
            Verdict::Answer(OrderResult::AlreadyApplied)
        );
        assert_eq!(
            judged(&order(OrderKind::Deactivate), &seen, true),
            Verdict::Answer(OrderResult::AlreadyApplied)
        );
    }

    #[test]
    fn sequences_count_per_order_key_so_a_stolen_key_cannot_block_the_next() {
        let mut seen = SeenOrders::default();
        seen.note(KeyVersion(1), OrderSeq(u64::MAX));
        assert_eq!(
            judged(&order(OrderKind::SignOut), &seen, false),
            Verdict::Apply(OrderKind::SignOut)
        );
    }

    #[test]
    fn a_sign_out_that_meets_a_wipe_is_not_applicable() {
        let seen = SeenOrders::default();
        assert_eq!(
            judged(&order(OrderKind::SignOut), &seen, true),
            Verdict::Answer(OrderResult::NotApplicable)
        );
    }

    #[test]
    fn a_newer_sequence_applies_after_an_older_one() {
        let mut seen = SeenOrders::default();
        seen.note(KeyVersion(2), OrderSeq(4));
        assert_eq!(
            judged(&order(OrderKind::SignOut), &seen, false),
            Verdict::Apply(OrderKind::SignOut)
        );
    }

    #[test]
    fn the_two_newest_order_keys_are_remembered_and_a_sequence_never_falls() {
        let last = |seen: &SeenOrders| [1, 2, 3, 4].map(|v| seen.last(KeyVersion(v)).map(|s| s.0));
        let mut seen = SeenOrders::default();
        seen.note(KeyVersion(2), OrderSeq(7));
        seen.note(KeyVersion(2), OrderSeq(3));
        assert_eq!(last(&seen), [None, Some(7), None, None]);
        seen.note(KeyVersion(1), OrderSeq(9));
        assert_eq!(last(&seen), [Some(9), Some(7), None, None]);
        seen.note(KeyVersion(3), OrderSeq(1));
        assert_eq!(last(&seen), [None, Some(7), Some(1), None]);
        seen.note(KeyVersion(4), OrderSeq(2));
        assert_eq!(last(&seen), [None, None, Some(1), Some(2)]);
    }

    #[test]
    fn what_was_seen_is_read_back_as_it_was_written() {
        let mut seen = SeenOrders::default();
        seen.note(KeyVersion(2), OrderSeq(7));
        seen.note(KeyVersion(3), OrderSeq(1));
        let mut buf = [0; 32];
        let n = crate::wire::codec::write(&[], &seen, &mut buf).unwrap();
        assert_eq!(crate::wire::codec::read(&buf[..n]), Some(seen));
    }
}
