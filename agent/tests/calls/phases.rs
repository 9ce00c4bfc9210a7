//! A device in each phase of its life.

use crate::common::{Bench, HOUR_S};
use crate::each::open_check;
use nrd_agent::State;
use nrd_agent::wire::{LeaseTerms, LockReason};
use nrd_agent_testkit::Failure;
use nrd_hal::ErrorKind;

/// A phase: the name of its column, the state that it shows, and how a device
/// comes there.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    pub(crate) bring: fn() -> Bench,
    /// A part is out of order in this phase, and stays so during the call.
    pub(crate) outage: bool,
}

pub(crate) const NONCE: [u8; 32] = [9; 32];
/// Flash that is worn out.
pub(crate) const NO_WRITES: Failure = Failure::NoWrites(ErrorKind::OperationFailed);

macro_rules! phases {
    ($($name:literal, $state:expr, $bring:expr, $outage:literal;)*) => {
        pub(crate) const PHASES: &[Phase] = &[
            $(Phase { name: $name, state: $state, bring: $bring, outage: $outage },)*
        ];
    };
}

phases! {
    "boot", State::Booting, boot, false;
    "fresh", State::Clean, fresh, false;
    "clean", State::Clean, clean, false;
    "activating", State::Activating, || Bench::activating(1), false;
    "storing", State::Activating, storing, false;
    "half stored", State::Activating, half_stored, false;
    "activating anew", State::Activating, activating_anew, false;
    "active", State::Active, || Bench::active(1), false;
    "lease expired", State::Locked(LockReason::LeaseExpired), lease_expired, false;
    "revoked", State::Locked(LockReason::Revoked), || stated(LockReason::Revoked), false;
    "consent due", State::Locked(LockReason::ConsentDue), || stated(LockReason::ConsentDue), false;
    "theft suspected", State::Locked(LockReason::TheftSuspected), || stated(LockReason::TheftSuspected), false;
    "journal lost", State::Locked(LockReason::JournalLost), journal_lost, false;
    "session lost", State::Locked(LockReason::SessionLost), session_lost, false;
    "not stored", State::Locked(LockReason::NotStored), not_stored, true;
    "boot: not stored", State::Locked(LockReason::NotStored), boot_not_stored, true;
    "boot: not answering", State::Locked(LockReason::NotAnswering), boot_not_answering, true;
    "signed out", State::SignedOut, signed_out, false;
    "wiping: keys", State::Wiping, wiping_keys, false;
    "wiping: vault", State::Wiping, wiping_vault, false;
    "wiping: receipt", State::Wiping, wiping_receipt, false;
    "failed", State::WipeFailed, failed, false;
    "filling", State::Filling, filling, false;
}

fn boot() -> Bench {
    let mut b = Bench::active(1);
    b.reboot();
    b
}

fn fresh() -> Bench {
    let mut b = Bench::new(1);
    b.work();
    b
}

/// After a wipe whose receipt is not delivered.
fn clean() -> Bench {
    let mut b = Bench::active(1);
    b.agent.deactivate().expect("it works in every state");
    b.work();
    b
}

fn storing() -> Bench {
    Bench::granted(1)
}

/// From signed out: the activation before it is still on the account's list.
fn activating_anew() -> Bench {
    let mut b = signed_out();
    b.service.pending_polls = u32::MAX;
    b.agent.start_activation().expect("signed out");
    b.serve();
    b
}

/// The power was cut while a grant was stored.
fn half_stored() -> Bench {
    let mut b = Bench::granted(1);
    for _ in 0..4 {
        b.agent.step().expect("it stores");
    }
    b.boot_offline();
    assert!(!b.is_blank());
    b
}

fn lease_expired() -> Bench {
    let mut b = Bench::new(1);
    b.work();
    b.service.terms = LeaseTerms {
        expires_after_s: 7200,
        ..b.service.terms
    };
    b.activate();
    b.pass(3 * HOUR_S, 600, false);
    b
}

fn stated(reason: LockReason) -> Bench {
    let mut b = Bench::active(1);
    b.service.statement = Some(reason);
    b.pass(HOUR_S, 600, true);
    b
}

fn journal_lost() -> Bench {
    let mut b = Bench::active(1);
    b.port.journal.edit(|cells| cells.fill(0xFF));
    b.boot_offline();
    b
}

fn session_lost() -> Bench {
    let mut b = Bench::active(1);
    b.port.vault.edit(|cells| cells.fill(0x00));
    b.boot_offline();
    b
}

/// The journal takes no writes, and the charged time is used up.
fn not_stored() -> Bench {
    let mut b = Bench::active(1);
    b.port.journal.outage.set(NO_WRITES);
    b.pass(HOUR_S, 600, false);
    b
}

fn boot_not_stored() -> Bench {
    let mut b = boot();
    b.port.journal.outage.set(NO_WRITES);
    b.pass(HOUR_S, 600, false);
    b
}

fn boot_not_answering() -> Bench {
    let mut b = boot();
    b.port.counter.outage.set(Failure::Silent);
    b.pass(HOUR_S, 600, false);
    b
}

fn signed_out() -> Bench {
    let mut b = Bench::active(1);
    b.agent.sign_out().expect("active");
    b.serve();
    b
}

fn wiping_keys() -> Bench {
    let mut b = Bench::active(1);
    b.agent.deactivate().expect("it works in every state");
    b
}

fn wiping_vault() -> Bench {
    let mut b = wiping_keys();
    while b.agent.status().wipe.is_some_and(|(done, _)| done < 3) {
        b.agent.step().expect("it wipes");
    }
    b
}

fn wiping_receipt() -> Bench {
    let mut b = wiping_keys();
    while b.agent.status().wipe.is_some_and(|(done, all)| done < all) {
        b.agent.step().expect("it wipes");
    }
    b
}

/// The vault did not erase.
fn failed() -> Bench {
    let mut b = Bench::active(1);
    b.port.vault.outage.set(NO_WRITES);
    b.agent.deactivate().expect("it works in every state");
    b.work();
    b.end_outages();
    b
}

fn filling() -> Bench {
    let mut b = fresh();
    open_check(&mut b).expect("it is clean");
    // Its desk goes, and what was stored is erased.
    b.agent.end_storage_check();
    b
}
