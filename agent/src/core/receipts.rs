//! Where undelivered receipts are kept, and which of them gives way.

use super::{Core, Mode};
use crate::state::Tombstone;
use crate::wire::ActivationId;

/// Places of receipts that prove something to an account. They are used in turn.
pub const PLACES: u8 = 4;
/// The place of a receipt that proves nothing to anybody's account.
///
/// Found: "activate, cancel" pressed four times evicted the seller's undelivered
/// receipt.
pub const SPARE_PLACE: u8 = PLACES;

impl Core {
    /// Places that hold a receipt, a bit each.
    pub(crate) fn receipts(&self) -> u8 {
        self.receipts
    }

    /// The kept receipt to deliver first: the oldest that proves something, then
    /// the spare one.
    pub fn oldest_receipt(&self) -> Option<u8> {
        self.oldest_proof(None).or(self.spare_receipt())
    }

    /// The receipt that gives way when the journal is full: the spare one, then
    /// the oldest; never the one of the wipe under way.
    pub(crate) fn least_receipt(&self) -> Option<u8> {
        let kept = match &self.mode {
            Mode::Wipe(wipe) => Some(self.next_place(&wipe.tombstone)),
            Mode::Boot(_) | Mode::Lost | Mode::Live(_) => None,
        };
        let spare = self.spare_receipt().filter(|_| kept != Some(SPARE_PLACE));
        spare.or_else(|| self.oldest_proof(kept))
    }

    /// The oldest receipt that proves something, but for the one at `kept`.
    fn oldest_proof(&self, kept: Option<u8>) -> Option<u8> {
        (0..PLACES)
            .map(|n| self.held.next_place.wrapping_add(n) % PLACES)
            .find(|&place| self.holds_receipt(place) && kept != Some(place))
    }

    fn spare_receipt(&self) -> Option<u8> {
        self.holds_receipt(SPARE_PLACE).then_some(SPARE_PLACE)
    }

    fn holds_receipt(&self, place: u8) -> bool {
        self.receipts >> place & 1 == 1
    }

    /// Where the receipt of this wipe is kept.
    pub(super) fn next_place(&self, tombstone: &Tombstone) -> u8 {
        if tombstone.activation_id == ActivationId::default() {
            SPARE_PLACE
        } else {
            self.held.next_place % PLACES
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Effect, Event, Job, Setup, Time};
    use crate::error::Error;

    /// A device at rest that keeps the receipts of these places.
    fn with_receipts(receipts: u8) -> Core {
        let mut core = Core::new(Setup {
            factory_epoch: 0,
            sectors: 16,
            pinned_root: 0,
        });
        core.mode = Mode::Live(Job::Idle);
        core.receipts = receipts;
        core
    }

    #[test]
    fn a_receipt_that_cannot_be_read_is_offered_no_more_though_it_stays() {
        let mut core = with_receipts(0b1_0110);
        core.handle(Event::ReceiptUnreadable(1), Time::default())
            .unwrap();
        assert_eq!(core.effect(), Effect::RemoveReceipt(1));
        core.handle(Event::Ended(Err(Error::WornOut)), Time::default())
            .unwrap();
        assert_eq!((core.receipts, core.held.receipts_dropped), (0b1_0100, 1));
        assert!(core.losses.receipt);
    }

    #[test]
    fn a_receipt_that_gave_way_is_the_only_one_gone() {
        let mut core = with_receipts(0b1_0110);
        core.handle(Event::ReceiptDropped(2), Time::default())
            .unwrap();
        assert_eq!((core.receipts, core.held.receipts_dropped), (0b1_0010, 1));
        assert!(!core.losses.receipt);
    }
}
