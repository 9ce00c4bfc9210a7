//! What state a device at the desk is in, in words for its clerk: what it means,
//! and what to do next.
//!
//! A device says it itself, in the place of an answer that it cannot give (SPEC
//! §9, "State form"), or somebody beside it sees it. It is no proof: only a
//! signed answer is, and only an answer is judged.

use nrd_agent::wire::LockReason;
use nrd_agent::wire::storage::CheckRefusal;
use nrd_agent::{Error, State};

/// In front of a state's word.
const STATE: &str = "NRD:1:STATE:";

/// The state of a device at the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is off, or not where its cable ends.
    Off,
    /// What its agent says.
    In(State),
    /// It is clean, or has failed to wipe, and a part that an answer needs does
    /// not work.
    Silent(Part),
    /// It keeps no receipt of a wipe.
    NoReceipt,
    /// It is not clean; a storage check's cable says no more.
    NotClean,
    /// What the other end of the cable says makes no sense.
    Foreign,
}

/// A part that an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The monotonic counter.
    Counter,
    /// The key that signs.
    Key,
    /// The random generator.
    Generator,
    /// The flash, or the working memory.
    Memory,
}

/// How urgent it is: a colour on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Do not take the device back like this.
    Bad,
    /// Something is left to do, or to wait for.
    Wait,
}

/// A state in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// A heading of a few words.
    pub title: &'static str,
    /// What it means.
    pub means: &'static str,
    /// The clerk's next step.
    pub next: &'static str,
    /// How urgent it is.
    pub tone: Tone,
}

/// What the customer can do, wherever an account is still on the device.
const REMOVE: &str = "Do not take it back like this. Leave it on and connected, and ask the customer to remove it on their account page, under “Manage Netflix ready devices and computers”. Without the customer at hand, and with their consent: press ↑ ↑ ↓ ↓ ← → ← → ↑ ↑ ↑ ↑ on its remote, and choose “Deactivate and wipe”. Ask again when it is clean.";
/// The same where the account page cannot reach it.
const WIPE_IT: &str = "Do not take it back like this. Press ↑ ↑ ↓ ↓ ← → ← → ↑ ↑ ↑ ↑ on its remote, and choose “Deactivate and wipe”; a damaged part does not stop the wipe. Ask again when it is clean. If it does not become clean, do not hand it on.";
/// Where no answer can be had today.
const DEFECT: &str = "Switch it off, wait a minute, and switch it on again; then ask again. If it stays so, it can prove nothing: treat it as a device that is not clean, and send it to its maker or have its storage destroyed.";

impl Condition {
    /// All of them, those that a clerk meets most often first.
    pub fn all() -> impl Iterator<Item = Condition> {
        let first = [
            Condition::In(State::Active),
            Condition::In(State::SignedOut),
        ];
        let locks = LockReason::ALL
            .iter()
            .map(|reason| Condition::In(State::Locked(*reason)));
        let last = [
            Condition::NotClean,
            Condition::Off,
            Condition::In(State::Booting),
            Condition::In(State::Activating),
            Condition::In(State::Wiping),
            Condition::In(State::Filling),
            Condition::In(State::WipeFailed),
            Condition::Silent(Part::Counter),
            Condition::Silent(Part::Key),
            Condition::Silent(Part::Generator),
            Condition::Silent(Part::Memory),
            Condition::NoReceipt,
            Condition::Foreign,
            Condition::In(State::Clean),
        ];
        first.into_iter().chain(locks).chain(last)
    }

    /// Why a call of the agent in state `state` gave no answer.
    pub fn of_refusal(e: Error, state: State) -> Condition {
        match e {
            // The state itself is the reason.
            Error::Busy | Error::WrongState => Condition::In(state),
            Error::NotFound => Condition::NoReceipt,
            Error::Hardware | Error::WornOut => Condition::Silent(Part::Counter),
            Error::Signing => Condition::Silent(Part::Key),
            Error::RandomGenerator => Condition::Silent(Part::Generator),
            Error::Corrupt
            | Error::Full
            | Error::TooLong
            | Error::BufferTooSmall
            | Error::Crypto
            | Error::Malformed
            | Error::NotForUs
            | Error::WrongType
            | Error::BadSignature
            | Error::KeyRetired => Condition::Silent(Part::Memory),
        }
    }

    /// Why a storage check was refused over its cable; `None` where the device has
    /// only lost its place in the conversation.
    pub fn of_cable(refusal: CheckRefusal) -> Option<Condition> {
        match refusal {
            CheckRefusal::Busy => Some(Condition::In(State::Filling)),
            CheckRefusal::NotClean => Some(Condition::NotClean),
            CheckRefusal::Failed => Some(Condition::Silent(Part::Memory)),
            CheckRefusal::Version => Some(Condition::Foreign),
            CheckRefusal::OutOfTurn => None,
        }
    }

    /// The state form's word; `None` for what only somebody else can see.
    fn word(self) -> Option<&'static str> {
        Some(match self {
            Condition::Off | Condition::NotClean | Condition::Foreign => return None,
            Condition::In(State::Booting) => "STARTING",
            Condition::In(State::Clean) => "CLEAN",
            Condition::In(State::Activating) => "ACTIVATING",
            Condition::In(State::Active) => "ACTIVE",
            Condition::In(State::SignedOut) => "SIGNED-OUT",
            Condition::In(State::Wiping) => "WIPING",
            Condition::In(State::WipeFailed) => "WIPE-FAILED",
            Condition::In(State::Filling) => "FILLING",
            Condition::In(State::Locked(reason)) => match reason {
                LockReason::LeaseExpired => "LOCKED:LEASE-EXPIRED",
                LockReason::Revoked => "LOCKED:REVOKED",
                LockReason::ConsentDue => "LOCKED:CONSENT-DUE",
                LockReason::TheftSuspected => "LOCKED:THEFT-SUSPECTED",
                LockReason::JournalLost => "LOCKED:JOURNAL-LOST",
                LockReason::SessionLost => "LOCKED:SESSION-LOST",
                LockReason::NotStored => "LOCKED:NOT-STORED",
                LockReason::NotAnswering => "LOCKED:NOT-ANSWERING",
            },
            Condition::Silent(part) => match part {
                Part::Counter => "SILENT:COUNTER",
                Part::Key => "SILENT:KEY",
                Part::Generator => "SILENT:GENERATOR",
                Part::Memory => "SILENT:MEMORY",
            },
            Condition::NoReceipt => "NO-RECEIPT",
        })
    }

    /// What a device shows in the place of an answer; `None` for what only
    /// somebody else can see.
    pub fn text(self) -> Option<String> {
        self.word().map(|word| STATE.to_owned() + word)
    }

    /// From that text.
    pub fn parse(text: &str) -> Option<Condition> {
        let text = text.trim().to_ascii_uppercase();
        let word = text.strip_prefix(STATE)?;
        Condition::all().find(|c| c.word() == Some(word))
    }

    /// What to tell the clerk. Every state has its words here: one that is added
    /// does not compile before it has them.
    pub fn words(self) -> Words {
        match self {
            Condition::Off => words(
                Tone::Bad,
                "Off",
                "It does not answer: it is switched off, or not on this cable. What is stored in it is still there.",
                "Plug it in, switch it on, and wait until its screen says what it is. If it stays dark it can prove nothing: treat it as a device that is not clean.",
            ),
            Condition::NotClean => words(
                Tone::Bad,
                "Not clean",
                "It is on an account, locked, signed out, or its wipe has failed. Over this cable it says no more; its screen says which.",
                REMOVE,
            ),
            Condition::Foreign => words(
                Tone::Bad,
                "It speaks another language",
                "What is at the other end of the cable is no such device, or has software of another age than this desk.",
                "Look whether the cable ends in the device of this label. Then give it this check’s question in another way: typed, as a file or as a code.",
            ),
            Condition::NoReceipt => words(
                Tone::Wait,
                "No receipt kept",
                "It keeps no receipt of a wipe: it has handed it to its service, or was never wiped. That says nothing about how it is now.",
                "Give it this check’s question: its answer says how it is now.",
            ),
            Condition::Silent(part) => part_words(part),
            Condition::In(state) => state_words(state),
        }
    }
}

fn words(tone: Tone, title: &'static str, means: &'static str, next: &'static str) -> Words {
    Words {
        title,
        means,
        next,
        tone,
    }
}

fn part_words(part: Part) -> Words {
    match part {
        Part::Counter => words(
            Tone::Bad,
            "Cannot answer: its counter is silent",
            "It would answer, but the counter that its statements stand on does not respond, so it signs nothing.",
            DEFECT,
        ),
        Part::Key => words(
            Tone::Bad,
            "Cannot answer: its key is silent",
            "It would answer, but the part that holds its signing key does not respond.",
            DEFECT,
        ),
        Part::Generator => words(
            Tone::Bad,
            "Cannot answer: its random generator is broken",
            "Its random generator fails its own test, so it does not do what needs one.",
            DEFECT,
        ),
        Part::Memory => words(
            Tone::Bad,
            "Cannot answer: a part of its memory does not respond",
            "It would answer, but its storage does not respond, or takes no writes.",
            DEFECT,
        ),
    }
}

fn state_words(state: State) -> Words {
    match state {
        State::Booting => words(
            Tone::Wait,
            "Starting",
            "It has just been switched on, and finds out what it holds.",
            "Wait until its screen says more, a few seconds as a rule. Then ask again.",
        ),
        State::Clean => words(
            Tone::Wait,
            "Clean, it says",
            "It says that no account is on it. That is its word and no proof yet.",
            "Give it this check’s question, and hand in the answer that it signs.",
        ),
        State::Activating => words(
            Tone::Wait,
            "Waits for an account",
            "Somebody has asked for a code on it, and nobody has entered it. Until then no account is on it, but it proves nothing either.",
            "Do not enter the code. Press Back on its remote, wait until its screen says Clean, and ask again.",
        ),
        State::Active => words(
            Tone::Bad,
            "Still on an account",
            "It is signed in to somebody’s account, and holds that person’s data.",
            REMOVE,
        ),
        State::SignedOut => words(
            Tone::Bad,
            "Signed out, and still on an account",
            "Signing out closes the data and erases none of it; the device stays on the account’s list.",
            REMOVE,
        ),
        State::Locked(reason) => lock_words(reason),
        State::Wiping => words(
            Tone::Wait,
            "Busy: it is wiping itself",
            "It has destroyed its keys and erases the rest. Pulling the plug does not stop that; it goes on when power is back.",
            "Leave it on and come back: ask again when its screen says Clean.",
        ),
        State::Filling => words(
            Tone::Wait,
            "Busy: it erases its storage",
            "A storage check is under way, or it is fresh from the factory and erases its storage before it is said to be clean.",
            "Leave it on and come back: ask again when its screen says Clean.",
        ),
        State::WipeFailed => words(
            Tone::Bad,
            "Its wipe failed",
            "A part of its memory would not erase. What could be destroyed is; the rest is not.",
            "Do not hand it on. Ask it all the same: its signed answer says which part did not erase. Then press ↑ ↑ ↓ ↓ ← → ← → ↑ ↑ ↑ ↑ on its remote and let it wipe itself once more. If that fails too, have its storage destroyed or send it to its maker.",
        ),
    }
}

fn lock_words(reason: LockReason) -> Words {
    match reason {
        LockReason::LeaseExpired => words(
            Tone::Bad,
            "Locked: too long without its service",
            "An account is still on it. It closed the data because it has not reached its service for too long.",
            REMOVE,
        ),
        LockReason::Revoked => words(
            Tone::Bad,
            "Locked: taken off its account",
            "The account holder has removed it, or its maker has barred it. The data in it is closed and not erased yet.",
            "Do not take it back like this. Connect it to a network and switch it off and on: the order to wipe reaches it there. If it stays locked, press ↑ ↑ ↓ ↓ ← → ← → ↑ ↑ ↑ ↑ on its remote, and choose “Deactivate and wipe”. Ask again when it is clean.",
        ),
        LockReason::ConsentDue => words(
            Tone::Bad,
            "Locked: consent is due",
            "An account is still on it. It closed the data until its holder has agreed to a new privacy policy.",
            REMOVE,
        ),
        LockReason::TheftSuspected => words(
            Tone::Bad,
            "Locked: a copy of it was used",
            "An account is still on it. Somebody has used a copy of its session, so its service closed both.",
            REMOVE,
        ),
        LockReason::JournalLost => words(
            Tone::Bad,
            "Locked: its memory was damaged",
            "It cannot read its own journal, so it cannot say what it holds. An account’s data may still be in it.",
            WIPE_IT,
        ),
        LockReason::SessionLost => words(
            Tone::Bad,
            "Locked: its session was lost",
            "An account is still on it. It cannot read its session, and the account’s data was not erased.",
            REMOVE,
        ),
        LockReason::NotStored => words(
            Tone::Bad,
            "Locked: its memory takes no writes",
            "It cannot store anything. An account’s data may still be in it.",
            WIPE_IT,
        ),
        LockReason::NotAnswering => words(
            Tone::Bad,
            "Locked: a part of it does not answer",
            "A part that it needs at its start is silent; it asks again by itself. An account’s data may still be in it.",
            WIPE_IT,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_words_of_its_own_and_a_next_step() {
        let mut titles = std::collections::HashSet::new();
        for condition in Condition::all() {
            let words = condition.words();
            assert!(titles.insert(words.title), "{condition:?}");
            assert!(
                !words.means.is_empty() && !words.next.is_empty(),
                "{condition:?}"
            );
        }
        assert_eq!(titles.len(), 24);
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_nothing_else_is_one() {
        let mut said = 0;
        for condition in Condition::all() {
            let Some(text) = condition.text() else {
                continue;
            };
            said += 1;
            assert_eq!(Condition::parse(&text), Some(condition));
            let typed = format!(" {}\r\n", text.to_lowercase());
            assert_eq!(Condition::parse(&typed), Some(condition));
            assert_eq!(Condition::parse(&format!("{text}X")), None);
        }
        assert_eq!(said, 21);
        for nonsense in [
            "",
            "ACTIVE",
            "NRD:1:STATE:",
            "NRD:1:STATE:OFF",
            "NRD:1:STATE:LOCKED",
        ] {
            assert_eq!(Condition::parse(nonsense), None, "{nonsense}");
        }
    }
}
