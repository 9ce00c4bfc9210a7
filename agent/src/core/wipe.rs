//! The wipe. Once its tombstone is on flash, no sequence of power cuts, torn
//! writes, unstable reads, reboots or replayed messages gives a session or a
//! cached byte again; and every wipe ends in `Clean`, or in a reported
//! failure, with a receipt.
//!
//! | phase | steps |
//! |---|---|
//! | tombstone | forget keys in RAM → write the tombstone to reserved room, read back |
//! | keys | raise the counter → program both slots to zero → erase, read back |
//! | vault | erase block by block, read back; progress kept |
//! | receipt | look at the slots again → store the receipt's facts |
//! | clean | save `Clean` → remove the tombstone |
//!
//! Every phase may be cut and is repeated from its start. No failing part stops
//! a wipe: what cannot be done is reported, and what cannot be written is
//! written later, with the device closed.

use super::{Core, Effect, Found, Job, Mode, PLACES, Read, SPARE_PLACE};
use crate::error::Error;
use crate::state::{PersistedState, Snapshot, Tombstone, WipePhase};
use crate::wire::{ActivationId, Digest, SectorCounts, WipeReason};

/// Tries before a part that does not answer is taken for broken.
pub const MAX_TRIES: u8 = 8;
/// Every place that is used in turn holds a receipt.
const ALL: u8 = (1 << PLACES) - 1;
/// Progress is stored after at most this many erased blocks.
const SAVE_EVERY: u8 = 16;
/// A cut may have torn the erase of any block since progress was last stored,
/// so a resumed wipe erases that many, and the slots, twice: then even an erase
/// that silently does nothing cannot leave half-erased cells that happen to
/// read blank.
const DOUBLE_ERASE_BLOCKS: u8 = SAVE_EVERY + 1;

/// A wipe under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wipe {
    /// The tombstone, with the progress so far.
    pub tombstone: Tombstone,
    /// The next step.
    pub step: WipeStep,
    /// Failures of the counter in a row.
    tries: u8,
    /// Blocks that are still erased twice.
    twice: u8,
    /// Blocks since progress was stored.
    unsaved: u8,
    /// Begun by this boot's call: its first steps belong to the call.
    begun: bool,
    /// The journal could not be read before this wipe began.
    blind: bool,
    /// The counter was read; otherwise the tombstone's epoch is a guess.
    epoch_known: bool,
    /// The step failed, and is tried again: its pieces are no progress.
    pub(super) repeating: bool,
    /// The next boot goes on with this wipe: its tombstone is on flash, or the
    /// counter is raised.
    committed: bool,
    /// Both slots were destroyed and read blank, seen at the end.
    slots_blank: bool,
    digest: Option<Digest>,
}

/// A step of a wipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WipeStep {
    /// Forget the keys in RAM.
    Close,
    /// Write the tombstone.
    Commit,
    /// Raise the counter.
    Raise,
    /// Program the slots to zero.
    Zero,
    /// Erase the slots.
    Slots,
    /// Read the counter back.
    Check,
    /// Erase the vault from here on.
    Vault(u32),
    /// Store progress, then go on at this offset of the vault.
    Progress(u32),
    /// Look at the slots once more.
    Look,
    /// Make the journal writable.
    Journal,
    /// Read the journal that could not be read before.
    Reload,
    /// Store the receipt.
    Receipt,
    /// Save the end.
    Save,
    /// Remove the tombstone.
    Remove,
}

impl Wipe {
    fn begun(tombstone: Tombstone, blind: bool, epoch_known: bool) -> Wipe {
        Wipe {
            tombstone,
            step: WipeStep::Close,
            tries: 0,
            twice: 0,
            unsaved: 0,
            begun: true,
            blind,
            epoch_known,
            repeating: false,
            committed: false,
            slots_blank: false,
            digest: None,
        }
    }

    /// A wipe that an earlier boot began.
    pub(super) fn resumed(tombstone: Tombstone) -> Wipe {
        let step = match tombstone.phase {
            WipePhase::Keys => WipeStep::Raise,
            WipePhase::Vault(at) => WipeStep::Vault(at),
            WipePhase::Receipt => WipeStep::Look,
        };
        Wipe {
            step,
            twice: DOUBLE_ERASE_BLOCKS,
            begun: false,
            committed: true,
            ..Wipe::begun(tombstone, false, true)
        }
    }

    /// The wipe's first steps: until the keys are dead, its caller waits.
    pub(super) fn is_engaged(&self) -> bool {
        self.begun
            && matches!(
                self.step,
                WipeStep::Close | WipeStep::Commit | WipeStep::Raise | WipeStep::Zero
            )
    }

    pub(super) fn effect(&self, place: u8) -> Effect {
        match self.step {
            WipeStep::Close => Effect::Close,
            WipeStep::Commit | WipeStep::Progress(_) => Effect::SaveTombstone,
            WipeStep::Raise => Effect::RaiseCounter(self.tombstone.target_epoch),
            WipeStep::Zero => Effect::ZeroSlots,
            WipeStep::Slots => Effect::EraseSlots {
                twice: self.twice > 0,
            },
            WipeStep::Check => Effect::ReadCounter,
            WipeStep::Vault(at) => Effect::EraseBlock {
                at,
                twice: self.twice > 0,
            },
            WipeStep::Look => Effect::LookAtSlots,
            WipeStep::Journal => Effect::OpenJournal,
            WipeStep::Reload => Effect::Load,
            WipeStep::Receipt => Effect::StoreReceipt {
                slots_blank: self.slots_blank,
                place,
            },
            WipeStep::Save => Effect::Save,
            WipeStep::Remove => Effect::RemoveTombstone,
        }
    }
}

impl Core {
    /// The activation that a wipe ends.
    fn ending_activation(&self) -> ActivationId {
        let id = match &self.held.state {
            PersistedState::Active(a) => Some(&a.id),
            PersistedState::Activating(t) if t.storing => Some(&t.id),
            PersistedState::Activating(t) => t.before.as_ref(),
            PersistedState::SignedOut(s) => Some(&s.id),
            PersistedState::Clean | PersistedState::Failed | PersistedState::Filling => None,
        };
        id.copied().unwrap_or_default()
    }

    pub(super) fn new_tombstone(&self, reason: WipeReason, order: Option<&Digest>) -> Tombstone {
        // A counter that does not answer does not delay the wipe: the slots are
        // destroyed all the same, and the receipt says that it was not raised.
        let epoch = self.counter();
        Tombstone {
            reason,
            order: order.copied(),
            activation_id: self.ending_activation(),
            wipe: self.held.next_wipe,
            epoch,
            target_epoch: epoch.wrapping_add(1),
            phase: WipePhase::Keys,
            sectors: SectorCounts {
                total: self.setup.sectors,
                ..SectorCounts::default()
            },
            slot_stuck: false,
            counter_worn_out: false,
            tombstone_failed: false,
        }
    }

    /// A wipe begins: access is closed from here on, whatever can be written.
    pub(super) fn begin_wipe(&mut self, reason: WipeReason, order: Option<&Digest>) {
        let blind = match &self.mode {
            Mode::Boot(boot) => boot.is_blind(),
            Mode::Lost | Mode::Live(_) | Mode::Wipe(_) => false,
        };
        // A sign-out that stuck on a slot, or an attempt that a stored grant
        // belongs to, ends here as well.
        if let (Mode::Live(Job::Store(_)), PersistedState::Activating(attempt)) =
            (&self.mode, &mut self.held.state)
        {
            attempt.storing = true;
        }
        let tombstone = self.new_tombstone(reason, order);
        self.mode = Mode::Wipe(Wipe::begun(tombstone, blind, self.counter.is_some()));
        self.session = false;
        self.losses.session = false;
        self.talk.forget();
        // A wipe does not wait until other work that failed is due again.
        self.retry.rested();
    }

    /// True while a wipe is under way of which the next boot would know nothing:
    /// neither tombstone nor counter could be written. Who asked for it is told so,
    /// and may ask again.
    ///
    /// Found: with journal and counter out of order a deactivation answered `Ok`,
    /// and a power cut made it undone, without a receipt.
    pub(crate) fn is_uncommitted(&self) -> bool {
        matches!(&self.mode, Mode::Wipe(wipe) if !wipe.committed)
    }

    /// What the end of the wipe makes of the snapshot.
    pub(super) fn wipe_image(&self, wipe: &Wipe, image: &mut Snapshot) {
        if wipe.step != WipeStep::Save {
            return;
        }
        let t = &wipe.tombstone;
        let failed = !wipe.slots_blank || t.sectors.failed > 0;
        image.state = if failed {
            PersistedState::Failed
        } else {
            PersistedState::Clean
        };
        image.epoch = if t.counter_worn_out {
            t.epoch
        } else {
            t.target_epoch
        };
        image.worn_out |= t.counter_worn_out;
        image.last_order = t.order;
        image.last_receipt = wipe.digest;
        image.next_wipe = t.wipe.wrapping_add(1);
        let place = self.next_place(t);
        image.newest_place = place;
        if place != SPARE_PLACE {
            image.next_place = (place + 1) % PLACES;
        }
    }

    #[expect(clippy::too_many_lines, reason = "one step an arm")]
    pub(super) fn wipe_ended(&mut self, result: &Result<Found<'_>, Error>) {
        let place = match &self.mode {
            Mode::Wipe(wipe) => self.next_place(&wipe.tombstone),
            Mode::Boot(_) | Mode::Lost | Mode::Live(_) => return,
        };
        let Mode::Wipe(wipe) = &mut self.mode else {
            return;
        };
        let step = wipe.step;
        let t = &mut wipe.tombstone;
        match wipe.step {
            WipeStep::Close => wipe.step = WipeStep::Commit,
            WipeStep::Commit => {
                // A wipe without a tombstone is better than none: once the counter
                // is raised, the next boot sees an epoch that has passed and wipes.
                wipe.committed |= result.is_ok();
                t.tombstone_failed = result.is_err();
                wipe.step = WipeStep::Raise;
            }
            WipeStep::Raise | WipeStep::Check => match *result {
                // Only now is it known what the counter has to reach.
                Ok(Found::Counter(n)) if !wipe.epoch_known => {
                    wipe.epoch_known = true;
                    t.epoch = n;
                    t.target_epoch = n.wrapping_add(1);
                    wipe.step = WipeStep::Raise;
                }
                found => {
                    let raised = matches!(found, Ok(Found::Counter(n)) if n >= t.target_epoch);
                    wipe.committed |= raised;
                    if step == WipeStep::Raise {
                        t.counter_worn_out = matches!(found, Err(Error::WornOut));
                        wipe.step = WipeStep::Zero;
                    } else {
                        wipe.checked(raised);
                    }
                }
            },
            WipeStep::Zero => wipe.step = WipeStep::Slots,
            WipeStep::Slots => {
                t.slot_stuck = !matches!(*result, Ok(Found::Blank(true)));
                wipe.step = WipeStep::Check;
            }
            WipeStep::Progress(at) => {
                // Progress is a convenience: if it cannot be stored, a cut repeats
                // work.
                wipe.committed |= result.is_ok();
                wipe.unsaved = 0;
                wipe.step = WipeStep::Vault(at);
            }
            // From here on each step is tried again until it is done: the journal
            // or the vault does not answer, or there is more.
            WipeStep::Vault(_) => {
                if let Ok(Found::Erased {
                    erased,
                    failed,
                    next,
                }) = *result
                {
                    t.sectors.erased = t.sectors.erased.saturating_add(erased);
                    t.sectors.failed = t.sectors.failed.saturating_add(failed);
                    wipe.block_ended(next);
                }
            }
            WipeStep::Look => {
                if let Ok(Found::Blank(blank)) = *result {
                    wipe.looked(blank);
                }
            }
            WipeStep::Journal => {
                if let Ok(Found::Done) = *result {
                    wipe.step = if wipe.blind {
                        WipeStep::Reload
                    } else {
                        WipeStep::Receipt
                    };
                }
            }
            WipeStep::Reload => {
                if let Ok(Found::Journal(journal)) = *result {
                    wipe.blind = false;
                    wipe.step = WipeStep::Receipt;
                    self.receipts = journal.receipts;
                    if let Read::Found(snapshot) = journal.snapshot {
                        self.reloaded(snapshot);
                    }
                }
            }
            WipeStep::Receipt => {
                if let Ok(Found::Receipt { digest }) = *result {
                    wipe.digest = Some(digest);
                    wipe.step = WipeStep::Save;
                    // A receipt that gives way to this one is counted in the next.
                    // After a cut the place may hold this wipe's own, so only a full
                    // row says that there was another.
                    let full = self.receipts & ALL == ALL;
                    if self.receipts >> place & 1 == 1 && (wipe.begun || full) {
                        self.count_dropped();
                    }
                    self.receipts |= 1 << place;
                }
            }
            WipeStep::Save => {
                if let Ok(Found::Saved(_)) = *result {
                    wipe.step = WipeStep::Remove;
                }
            }
            WipeStep::Remove => {
                if result.is_ok() {
                    self.losses.snapshot = false;
                    self.reset = true;
                    self.mode = Mode::Live(Job::Idle);
                }
            }
        }
        if let Mode::Wipe(wipe) = &mut self.mode {
            wipe.repeating = wipe.step == step && (wipe.repeating || result.is_err());
        }
    }

    /// The journal can be read after all: the wipe is of the activation that it
    /// names, and its receipt goes on where the earlier ones ended.
    fn reloaded(&mut self, snapshot: &Snapshot) {
        self.held = *snapshot;
        let id = self.ending_activation();
        if let Mode::Wipe(wipe) = &mut self.mode {
            wipe.tombstone.activation_id = id;
            wipe.tombstone.wipe = snapshot.next_wipe;
        }
    }
}

impl Wipe {
    /// Begins anew with the tombstone.
    pub(super) fn commit_again(&mut self) {
        self.tombstone.phase = WipePhase::Keys;
        self.tombstone.sectors.erased = 0;
        self.tombstone.sectors.failed = 0;
        self.begun = true;
        self.step = WipeStep::Commit;
    }

    /// The counter was read back, or does not answer.
    fn checked(&mut self, raised: bool) {
        let t = &mut self.tombstone;
        if !raised && !t.counter_worn_out {
            self.tries = self.tries.saturating_add(1);
            if self.tries < MAX_TRIES {
                self.step = WipeStep::Raise;
                return;
            }
            t.counter_worn_out = true;
        }
        t.phase = WipePhase::Vault(0);
        self.step = WipeStep::Progress(0);
    }

    /// The slots were looked at once more.
    fn looked(&mut self, blank: bool) {
        let t = &mut self.tombstone;
        if blank || t.slot_stuck {
            // A slot whose erase reports a failure counts as not blank even if it
            // reads blank: its cells may be half-way.
            self.slots_blank = blank && !t.slot_stuck;
            self.step = WipeStep::Journal;
        } else {
            // The slots read blank before and do not now: an unstable erase. Begin
            // again with the keys.
            t.phase = WipePhase::Keys;
            t.sectors.erased = 0;
            t.sectors.failed = 0;
            self.step = WipeStep::Raise;
        }
    }

    fn block_ended(&mut self, next: Option<u32>) {
        self.twice = self.twice.saturating_sub(1);
        self.unsaved = self.unsaved.saturating_add(1);
        match next {
            None => {
                self.tombstone.phase = WipePhase::Receipt;
                self.step = WipeStep::Look;
            }
            Some(at) => {
                self.tombstone.phase = WipePhase::Vault(at);
                self.step = if self.unsaved >= SAVE_EVERY {
                    WipeStep::Progress(at)
                } else {
                    WipeStep::Vault(at)
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Event, Journal, Setup, Time};

    /// A boot that has read this, and what it does after `events`.
    fn told(core: &mut Core, events: &[Event<'_>]) -> Effect {
        for event in events {
            core.handle(*event, Time::default()).unwrap();
        }
        core.effect()
    }

    /// The journal is read again only by a wipe that began before it could be read.
    #[test]
    fn a_wipe_reads_the_journal_that_its_boot_could_not_read() {
        let snapshot = Snapshot {
            charged_s: 900,
            ..Snapshot::fresh(0)
        };
        let journal = Journal {
            snapshot: Read::Found(&snapshot),
            tombstone: Read::Missing,
            empty: false,
            receipts: 0,
            root: Read::Missing,
            slots_blank: true,
            slot_lives: false,
        };
        let done = Event::Ended(Ok(Found::Done));
        let failed = Event::Ended(Err(Error::Hardware));
        let counter = Event::Ended(Ok(Found::Counter(0)));
        for (read, then) in [
            (
                true,
                Effect::StoreReceipt {
                    slots_blank: true,
                    place: SPARE_PLACE,
                },
            ),
            (false, Effect::Load),
        ] {
            let mut core = Core::new(Setup {
                factory_epoch: 0,
                sectors: 1,
                pinned_root: 0,
            });
            let next = told(&mut core, &[done, done, counter, Event::Deactivate]);
            assert_eq!(next, Effect::Load);
            if read {
                let loaded = Event::Ended(Ok(Found::Journal(journal)));
                assert_eq!(told(&mut core, &[loaded]), Effect::Save);
                let saved = Event::Ended(Ok(Found::Saved(&snapshot)));
                assert_eq!(told(&mut core, &[saved]), Effect::Close);
            } else {
                let next = told(&mut core, &[failed; MAX_TRIES as usize]);
                assert_eq!(next, Effect::Close);
            }
            let blank = Event::Ended(Ok(Found::Blank(true)));
            let raised = Event::Ended(Ok(Found::Counter(1)));
            let erased = Event::Ended(Ok(Found::Erased {
                erased: 1,
                failed: 0,
                next: None,
            }));
            let wipe = [done, done, raised, done, blank, raised, done, erased, blank];
            assert_eq!(told(&mut core, &wipe), Effect::OpenJournal);
            assert_eq!(told(&mut core, &[done]), then, "read: {read}");
        }
    }
}
