//! Each call of the agent, and the word for how it ended.

use crate::common::Bench;
use crate::phases::NONCE;
use nrd_agent::wire::codec;
use nrd_agent::wire::storage::{CheckRefusal, DeskMessage, DeviceMessage, VERSION};
use nrd_agent::wire::{Body as _, OrderKind, OrderResult, Receipt};
use nrd_agent::{Class, Error, State};

/// A call: the name of its row, and the call itself.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) make: fn(&mut Bench) -> Result<&'static str, Error>,
}

macro_rules! calls {
    ($($name:literal, $make:expr;)*) => {
        pub(crate) const CALLS: &[Call] = &[$(Call { name: $name, make: $make },)*];
    };
}

calls! {
    "`deactivate`", |b| b.agent.deactivate().map(done);
    "`start_activation`", |b| b.agent.start_activation().map(done);
    "`cancel_activation`", |b| b.agent.cancel_activation().map(done);
    "`sign_out`", |b| b.agent.sign_out().map(done);
    "`apply_order` (deactivate)", |b| order(b, OrderKind::Deactivate);
    "`apply_order` (sign out)", |b| order(b, OrderKind::SignOut);
    "`put`", |b| b.agent.put(Class::Email, 2, b"second").map(done);
    "`get`", |b| b.agent.get(Class::Email, 1, &mut [0; 64]).map(done);
    "`remove`", |b| b.agent.remove(Class::Email, 1).map(done);
    "`forget`", |b| b.agent.forget(Class::Email).map(done);
    "`display_name`", |b| b.agent.display_name(&mut [0; 64]).map(done);
    "`prove_clean`", |b| b.agent.prove_clean(NONCE, &mut [0; Receipt::MAX]).map(done);
    "`storage_check` (open)", open_check;
    "`end_storage_check`", |b| { b.agent.end_storage_check(); Ok("done") };
    "`newest_receipt`", |b| b.agent.newest_receipt(&mut [0; Receipt::MAX]).map(done);
    "`is_clean`", |b| Ok(if b.agent.is_clean() { "yes" } else { "no" });
    "`poll_request`, `handle_reply`", exchange;
    "`exchange_failed`", |b| { b.agent.exchange_failed(); Ok("done") };
    "`network_up`, `try_again`", |b| { b.agent.network_up(); b.agent.try_again(); Ok("done") };
    "`spread_first_contact`", |b| { b.agent.spread_first_contact(60); Ok("done") };
    "`state`, `status`, `signed_time`, `next_due_ms`", |b| {
        let (state, status) = (b.agent.state(), b.agent.status());
        assert_eq!(state, status.state);
        let _time = (b.agent.signed_time(), b.agent.next_due_ms());
        Ok("done")
    };
}

/// Calls that are not in the table, for no phase changes what they do: making an
/// agent, the run loop, and what a constructor was given.
pub(crate) const NOT_IN_TABLE: &[&str] = &[
    "new",
    "step",
    "poll",
    "poll_work",
    "work_fault",
    "platform",
    "device_id",
];

fn done<T>(_: T) -> &'static str {
    "done"
}

fn order(b: &mut Bench, kind: OrderKind) -> Result<&'static str, Error> {
    let frame = b.order(kind);
    let (result, _) = b.agent.apply_order(&frame, &mut [0; 192])?;
    Ok(match result {
        OrderResult::Applied => "done",
        OrderResult::AlreadyApplied => "already",
        OrderResult::NotApplicable => "not ours",
        OrderResult::Stale => "stale",
    })
}

/// A desk opens a storage check. The device says no over the cable; here it is the
/// error of the same meaning.
pub(crate) fn open_check(b: &mut Bench) -> Result<&'static str, Error> {
    let answers = b.say(&DeskMessage::Open { version: VERSION });
    let answer = answers.first().and_then(|a| codec::read(a));
    match answer.expect("every Open has an answer") {
        DeviceMessage::Here { .. } => Ok("done"),
        DeviceMessage::Refused { reason } => Err(match reason {
            CheckRefusal::Busy => Error::Busy,
            CheckRefusal::NotClean => Error::WrongState,
            CheckRefusal::Failed => Error::Hardware,
            CheckRefusal::OutOfTurn | CheckRefusal::Version => panic!("{reason:?}"),
        }),
        other => panic!("{other:?}"),
    }
}

/// One exchange, as soon as a person asks for it.
fn exchange(b: &mut Bench) -> Result<&'static str, Error> {
    b.agent.try_again();
    Ok(if b.exchange()? { "done" } else { "quiet" })
}

/// The word for an error that refuses a call.
pub(crate) fn refusal(e: Error) -> Option<&'static str> {
    match e {
        Error::Busy => Some("busy"),
        Error::WrongState => Some("refused"),
        Error::NotFound => Some("nothing"),
        Error::Corrupt
        | Error::Full
        | Error::TooLong
        | Error::BufferTooSmall
        | Error::WornOut
        | Error::Hardware
        | Error::RandomGenerator
        | Error::Crypto
        | Error::Malformed
        | Error::NotForUs
        | Error::Signing
        | Error::WrongType
        | Error::BadSignature
        | Error::KeyRetired => None,
    }
}

/// The word for a state.
pub(crate) fn word(state: State) -> &'static str {
    match state {
        State::Booting => "booting",
        State::Clean => "clean",
        State::Activating => "activating",
        State::Active => "active",
        State::Locked(_) => "locked",
        State::SignedOut => "signed out",
        State::Wiping => "wiping",
        State::WipeFailed => "failed",
        State::Filling => "filling",
    }
}
