//! What a person at the device asks for. Each call tells the machine and carries
//! out what belongs to it; what each answers in every phase is in the table of
//! `docs/SPEC.md` §7.

use super::Agent;
use super::grant::healthy_random;
use crate::core::Event;
use crate::error::Error;
use crate::wire::ActivationId;
use nrd_hal::Platform;

impl<P: Platform> Agent<'_, P> {
    /// Begins an activation attempt: persists its id before the first request.
    /// Then exchange requests until [`State::Active`](crate::State::Active).
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] during the boot; [`Error::WrongState`] unless the device
    /// is clean, signed out, or locked because its session was lost;
    /// [`Error::WornOut`] when the counter is; [`Error::RandomGenerator`]; and
    /// those of the journal, and then nothing has changed.
    pub fn start_activation(&mut self) -> Result<(), Error> {
        self.tick();
        self.core.may_start()?;
        let mut id = ActivationId::default();
        healthy_random(self.platform.parts().rng, &mut id.0)?;
        self.check.drop_it();
        self.settle(Event::Start(&id), &[])
    }

    /// Gives up the attempt. Before a grant arrived nothing was stored, and the
    /// device is as it was before; after that it wipes, with a receipt.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] during the boot; [`Error::WrongState`] without an attempt.
    /// Those of the journal: then the attempt has ended all the same, and that is
    /// written later.
    pub fn cancel_activation(&mut self) -> Result<(), Error> {
        self.settle(Event::Cancel, &[])
    }

    /// A person signs out: the session and all personal data die at once; the
    /// device stays on the account's list until it is removed there.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] during the boot; [`Error::WrongState`] without an
    /// activation. Those of the journal: then the device is signed out all the
    /// same and its keys are gone; that it is will be written later.
    pub fn sign_out(&mut self) -> Result<(), Error> {
        self.settle(Event::SignOut, &[])
    }

    /// A person at the device asks for deactivation: works in every state, and
    /// with no network. Call it only for physical or paired-remote keys, held
    /// to confirm.
    ///
    /// During the boot it is noted, and done as soon as it is known what there is
    /// to wipe, or that this cannot be known.
    ///
    /// # Errors
    ///
    /// [`Error::Hardware`] or [`Error::WornOut`] when neither journal nor counter can
    /// be written: access is closed and the wipe goes on, but a power cut now would
    /// undo it. Call it again, until it answers `Ok`.
    pub fn deactivate(&mut self) -> Result<(), Error> {
        self.settle(Event::Deactivate, &[])
    }

    /// The network is there again: a wait after a failed exchange is over. One
    /// that the service asked for is not.
    pub fn network_up(&mut self) {
        self.tick();
        self.core.talk.network_up();
    }

    /// Somebody asks to try again now: no wait of any kind goes on, of the
    /// conversation or of work that failed. For a button, not for a loop.
    pub fn try_again(&mut self) {
        self.tick();
        self.core.talk.hurry();
        self.core.retry.hurry();
        if self.core.retry.work == Some(Error::WornOut) {
            self.start_logs_over();
        }
    }
}
