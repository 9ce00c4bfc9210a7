//! The device of the model: the agent's own state machine, and parts that are as
//! simple as parts can be. What the machine asks for is done at once, or not at
//! all; which, and when the power goes, is the checker's choice.

use super::{Act, Without, id};
use nrd_agent::Error;
use nrd_agent::core::{Core, Effect, Event, Found, Journal, Mode, Read, Setup, Time};
use nrd_agent::state::{PersistedState, Snapshot, State, Tombstone};
use nrd_agent::wire::{ActivationId, Digest};

/// Seconds of powered time in a tick: more than is charged ahead.
pub(super) const TICK_S: u32 = 1000;
/// Places for receipts.
const PLACES: usize = nrd_agent::core::PLACES as usize + 1;

/// What a key slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Slot {
    #[default]
    Blank,
    /// The key of an activation.
    Key(Act, u64),
    /// Programmed to zero.
    Dead,
}

/// A receipt as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kept {
    /// Whose; `None` for nobody's.
    pub(super) act: Option<Act>,
    /// It says that everything was destroyed.
    pub(super) clean: bool,
}

/// What the device has on flash: what an older image brings back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Flash {
    pub(super) snapshot: Option<Snapshot>,
    pub(super) tombstone: Option<Tombstone>,
    pub(super) slot: Slot,
    /// The session record: whose, and the token's generation.
    pub(super) vault: Option<(Act, u8)>,
    pub(super) receipts: [Option<Kept>; PLACES],
    /// Key version of the delegation that is stored.
    pub(super) delegation: u32,
}

/// Parts that do not do what they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Faults {
    /// The journal takes no writes.
    pub(super) journal: bool,
    /// What is written to the journal lands, and is reported as failed.
    pub(super) lying: bool,
    /// The counter does not answer.
    pub(super) counter: bool,
    /// The slots do not erase.
    pub(super) slots: bool,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Device {
    /// The machine, while the power is on.
    pub(super) core: Option<Core>,
    pub(super) flash: Flash,
    pub(super) counter: u64,
    pub(super) faults: Faults,
    /// Ticks of this boot.
    pub(super) up: u32,
    /// In RAM: the token in use, and the one that is being stored.
    pub(super) token: Option<(Act, u8)>,
    pub(super) next: Option<(Act, u8)>,
    /// And the key version of the delegation that is being stored.
    pub(super) delegation: u32,
}

impl Device {
    pub(super) fn new() -> Device {
        Device {
            core: None,
            flash: Flash::default(),
            counter: 0,
            faults: Faults::default(),
            up: 0,
            token: None,
            next: None,
            delegation: 0,
        }
    }

    pub(super) fn power_on(&mut self) {
        self.up = 0;
        self.core = Some(Core::new(Setup {
            factory_epoch: 0,
            sectors: 1,
            pinned_root: 0,
        }));
    }

    pub(super) fn power_off(&mut self) {
        self.core = None;
        self.token = None;
        self.next = None;
        self.delegation = 0;
    }

    fn time(&self) -> Time {
        Time {
            uptime_ms: u64::from(self.up) * u64::from(TICK_S) * 1000,
            wall_s: None,
        }
    }

    /// Tells the machine what happened; false when the power is off, or it
    /// refuses.
    pub(super) fn tell(&mut self, event: Event<'_>) -> bool {
        let time = self.time();
        self.core
            .as_mut()
            .is_some_and(|core| core.handle(event, time).is_ok())
    }

    /// The machine carries out something that cannot wait for another event.
    pub(super) fn is_engaged(&self) -> bool {
        self.core.as_ref().is_some_and(Core::is_engaged)
    }

    /// The boot is not done.
    pub(super) fn is_booting(&self) -> bool {
        let mode = self.core.as_ref().map(Core::mode);
        matches!(mode, Some(Mode::Boot(_)))
    }

    /// The activation that the snapshot on flash is of.
    pub(super) fn snapshot_act(&self) -> Option<Act> {
        match self.flash.snapshot?.state {
            PersistedState::Active(a) => act_of(&a.id),
            PersistedState::SignedOut(s) => act_of(&s.id),
            PersistedState::Activating(t) => act_of(&t.id),
            PersistedState::Clean | PersistedState::Failed | PersistedState::Filling => None,
        }
    }

    pub(super) fn state(&self) -> Option<State> {
        self.core.as_ref().map(Core::state)
    }

    /// Carries out the next effect; `None` when there is none. With `cut`, the
    /// power goes when it is done, and nobody hears of it.
    pub(super) fn work(&mut self, without: Option<Without>, cut: bool) -> Option<()> {
        let core = self.core.as_ref()?;
        let effect = core.effect();
        let mut image = *core.held();
        core.write_image(&mut image);
        let tombstone = core.tombstone().copied();
        let (flash_snapshot, flash_tombstone) = (self.flash.snapshot, self.flash.tombstone);
        let result = match effect {
            Effect::Rest => return None,
            Effect::Save => self
                .write(|flash| flash.snapshot = Some(image))
                .map(|()| Found::Saved(&image)),
            Effect::SaveTombstone => self
                .write(|flash| flash.tombstone = tombstone)
                .map(|()| Found::Done),
            Effect::Load => Ok(Found::Journal(Journal {
                snapshot: read(flash_snapshot.as_ref()),
                tombstone: match without {
                    Some(Without::TombstoneFirst) => Read::Missing,
                    _ => read(flash_tombstone.as_ref()),
                },
                empty: flash_snapshot.is_none() && flash_tombstone.is_none(),
                receipts: (0..PLACES)
                    .filter(|n| self.flash.receipts[*n].is_some())
                    .fold(0, |places, n| places | 1 << n),
                root: Read::Missing,
                slots_blank: self.flash.slot == Slot::Blank,
                slot_lives: matches!(self.flash.slot, Slot::Key(..)),
            })),
            effect => self.carry_out(effect, tombstone.as_ref(), without),
        };
        if cut {
            self.power_off();
        } else {
            self.tell(Event::Ended(result));
        }
        Some(())
    }

    fn write(&mut self, to: impl FnOnce(&mut Flash)) -> Result<(), Error> {
        if self.faults.journal {
            return Err(Error::WornOut);
        }
        to(&mut self.flash);
        if self.faults.lying {
            return Err(Error::Hardware);
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "one effect an arm")]
    fn carry_out(
        &mut self,
        effect: Effect,
        tombstone: Option<&Tombstone>,
        without: Option<Without>,
    ) -> Result<Found<'static>, Error> {
        let done = Ok(Found::Done);
        match effect {
            Effect::Rest | Effect::Reset | Effect::DeriveKeys | Effect::OpenVault => done,
            Effect::OpenJournal => self.write(|_| ()).map(|()| Found::Done),
            Effect::ReadCounter => self.counter(),
            Effect::RaiseCounter(target) => {
                self.counter()?;
                if without == Some(Without::Counter) {
                    return Ok(Found::Counter(target));
                }
                self.counter += u64::from(self.counter < target);
                self.counter()
            }
            Effect::EffaceSlots | Effect::EraseSlots { .. } => {
                if !self.faults.slots {
                    self.flash.slot = Slot::Blank;
                }
                Ok(Found::Blank(self.flash.slot == Slot::Blank))
            }
            Effect::ZeroSlots => {
                if matches!(self.flash.slot, Slot::Key(..)) {
                    self.flash.slot = Slot::Dead;
                }
                done
            }
            Effect::LookAtSlots => Ok(Found::Blank(self.flash.slot == Slot::Blank)),
            Effect::OpenSlot => Ok(Found::Slot(self.named() == Some(self.flash.slot))),
            Effect::OpenSession => {
                self.token = self.flash.vault;
                Ok(Found::Session(self.token.is_some()))
            }
            Effect::MakeSlot => {
                let (act, _) = self.next.ok_or(Error::NotFound)?;
                if self.faults.slots {
                    return Err(Error::WornOut);
                }
                self.flash.slot = Slot::Key(act, self.counter);
                done
            }
            Effect::StoreSession | Effect::StoreToken => {
                let next = self.next.ok_or(Error::NotFound)?;
                // Without the rule the new token is used, and not on flash.
                if without != Some(Without::PersistFirst) || effect == Effect::StoreSession {
                    self.flash.vault = Some(next);
                }
                self.token = Some(next);
                done
            }
            Effect::StoreDelegation => {
                let key = self.delegation;
                self.write(|flash| flash.delegation = key)
                    .map(|()| Found::Done)
            }
            Effect::Close => {
                if without != Some(Without::CloseFirst) {
                    self.token = None;
                    self.next = None;
                }
                done
            }
            Effect::EraseBlock { .. } => {
                self.flash.vault = None;
                Ok(Found::Erased {
                    erased: 1,
                    failed: 0,
                    next: None,
                })
            }
            Effect::StoreReceipt { slots_blank, place } => {
                let t = tombstone.ok_or(Error::NotFound)?;
                let kept = Kept {
                    act: act_of(&t.activation_id),
                    clean: slots_blank && t.sectors.failed == 0,
                };
                self.write(|flash| flash.receipts[usize::from(place)] = Some(kept))?;
                let digest: Digest = [place; 32];
                Ok(Found::Receipt { digest })
            }
            Effect::RemoveReceipt(place) => self
                .write(|flash| flash.receipts[usize::from(place)] = None)
                .map(|()| Found::Done),
            Effect::RemoveTombstone => self
                .write(|flash| flash.tombstone = None)
                .map(|()| Found::Done),
            // Answered above, or asked for by calls that the model does not make.
            Effect::Save
            | Effect::SaveTombstone
            | Effect::Load
            | Effect::StoreRoot
            | Effect::NewSalt(_)
            | Effect::SwapSlot(_) => Err(Error::WrongState),
        }
    }

    fn counter(&self) -> Result<Found<'static>, Error> {
        if self.faults.counter {
            return Err(Error::Hardware);
        }
        Ok(Found::Counter(self.counter))
    }

    /// The slot that the snapshot names.
    fn named(&self) -> Option<Slot> {
        let a = self.core.as_ref()?.held();
        let PersistedState::Active(a) = &a.state else {
            return None;
        };
        Some(Slot::Key(act_of(&a.id)?, a.epoch))
    }

    /// The activation whose data the device would serve now.
    pub(super) fn serves(&self) -> Option<Act> {
        let core = self.core.as_ref()?;
        if core.state() != State::Active {
            return None;
        }
        core.activation().and_then(|a| act_of(&a.id))
    }

    /// The activation of the wipe under way.
    pub(super) fn wipes(&self) -> Option<&Tombstone> {
        match self.core.as_ref()?.mode() {
            Mode::Wipe(wipe) => Some(&wipe.tombstone),
            Mode::Boot(_) | Mode::Lost | Mode::Live(_) => None,
        }
    }
}

fn read<T>(record: Option<&T>) -> Read<&T> {
    record.map_or(Read::Missing, Read::Found)
}

/// The activation that this id names.
pub(super) fn act_of(named: &ActivationId) -> Option<Act> {
    (0..Act::MAX).find(|&act| id(act) == *named)
}
