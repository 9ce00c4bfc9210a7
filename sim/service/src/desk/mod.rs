//! A returns desk: asks a device to prove that it is clean, and judges the
//! answer offline, with the maker's root key alone.
//!
//! ```text
//!   begin ──▶ nonce ──▶ device (typed, stick, cable, QR code)
//!                          │ prove_clean
//!   submit ◀── answer ◀────┘ (pasted, file, photo of a QR code)
//!      │
//!      ▼
//!   verdict: green only for what was proven
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | checks and their verdicts; in memory, they die with the desk |
//! | `run.rs` | runs a desk: a server of its own |
//! | `batch.rs` | many devices asked with one question |
//! | `csv.rs` | their verdicts as a table |
//! | `challenge_text.rs` | nonce and answer as text and as QR code |
//! | `condition.rs` | the states of a device that gives no answer, in words |
//! | `question.rs` | a question as people carry it |
//! | `photo/` | reads the code in a photo, in a process that can be killed |

mod batch;
mod challenge_text;
mod condition;
mod csv;
pub mod photo;
mod question;
mod run;

pub use batch::{Batch, MAX_ROWS, NO_ANSWER, Row};
pub use challenge_text::{
    Challenge, ChallengeTextError, DarkRun, Handed, answer_text, answers_in, parse_answer,
    parse_handed, qr_modules, qr_svg,
};
pub use condition::{Condition, Part, Tone, Words};
pub use question::{QuestionError, is_picture, read_file};
pub use run::{RunningDesk, serve};

use nrd_sim_base::time_format::count;
use nrd_sim_base::{hex, random};
use nrd_sim_forensics::verify::Verdict as Judged;
use nrd_sim_forensics::verify::{
    Asked, ListError, Lists, Question, Refusal, Revocation, SubjectKind, Verified, verify_with,
};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A nonce is good for this long, in seconds.
pub const NONCE_LIFE_S: u64 = 24 * 3600;
/// Checks that a desk remembers; the oldest is dropped for a new one.
const MAX_CHECKS: usize = 2000;

/// A desk.
pub struct Desk {
    maker_root: [u8; 32],
    inner: Mutex<Inner>,
    /// Goes up when a batch changes.
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    lists: Lists,
    /// Newest first.
    checks: VecDeque<Check>,
    /// Newest first.
    batches: VecDeque<Batch>,
}

/// One device on the desk.
#[derive(Debug, Clone)]
pub struct Check {
    /// Names it in addresses; not a secret.
    pub id: String,
    /// What the device must answer.
    pub nonce: [u8; 32],
    /// The device id that the label says.
    pub device_id: String,
    /// When it began, Unix seconds.
    pub began: u64,
    /// The newest verdict.
    pub verdict: Option<Verdict>,
    /// Why the newest submission changed nothing.
    pub note: Option<Note>,
}

/// Why a submission changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// It was not looked at, or could not be read; in a sentence or two.
    Ignored(&'static str),
    /// The device has said its state in the place of an answer.
    State(Condition),
}

/// The result of a check.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Green: proven. Nothing else is.
    pub good: bool,
    /// In a few words.
    pub title: &'static str,
    /// Why, in a sentence or two.
    pub why: String,
    /// What was signed, where the signatures hold.
    pub signed: Option<Verified>,
    /// The frame that was judged.
    pub frame: Vec<u8>,
    /// When, Unix seconds.
    pub at: u64,
}

impl Desk {
    /// A desk that trusts this maker.
    pub fn new(maker_root: [u8; 32]) -> Desk {
        Desk {
            maker_root,
            inner: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    /// Changes of batches from now on: the value goes up.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn tell(&self) {
        self.news.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is a single assignment: a panic leaves no half of one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The maker's public key.
    pub fn maker_root(&self) -> &[u8; 32] {
        &self.maker_root
    }

    /// Takes a list of the maker's; never an older one than it has.
    pub fn take_list(&self, frame: &[u8]) -> Result<(), ListError> {
        self.inner().lists.take(frame, &self.maker_root)
    }

    /// The lists at hand.
    pub fn lists(&self) -> Lists {
        self.inner().lists.clone()
    }

    /// Begins a check at `now` (Unix seconds) with a fresh nonce.
    pub fn begin(&self, device_id: &str, now: u64) -> crate::Result<Check> {
        let id: [u8; 8] = random()?;
        let check = Check {
            id: hex(&id),
            nonce: random()?,
            device_id: device_id.split_whitespace().collect(),
            began: now,
            verdict: None,
            note: None,
        };
        let mut inner = self.inner();
        inner.checks.truncate(MAX_CHECKS - 1);
        inner.checks.push_front(check.clone());
        Ok(check)
    }

    /// The check of this id.
    pub fn check(&self, id: &str) -> Option<Check> {
        self.inner().checks.iter().find(|c| c.id == id).cloned()
    }

    /// The newest checks, newest first.
    pub fn newest(&self, n: usize) -> Vec<Check> {
        self.inner().checks.iter().take(n).cloned().collect()
    }

    /// Judges `frame` as the answer to check `id`; `None` for an unknown one.
    /// A check that was answered well stays so.
    pub fn submit(&self, id: &str, frame: &[u8], now: u64) -> Option<Check> {
        self.inner().submit(&self.maker_root, id, frame, now)
    }

    /// Notes that what was handed in is no answer.
    pub fn no_answer(&self, id: &str, note: Note) -> Option<Check> {
        let mut inner = self.inner();
        let check = inner.checks.iter_mut().find(|c| c.id == id)?;
        check.note = Some(note);
        Some(check.clone())
    }

    /// Reads a receipt by itself: what it proves, with no nonce asked.
    pub fn read(&self, frame: &[u8], now: u64) -> Verdict {
        read(&self.maker_root, &self.inner(), frame, now)
    }
}

impl Inner {
    fn submit(&mut self, root: &[u8; 32], id: &str, frame: &[u8], now: u64) -> Option<Check> {
        let at = self.checks.iter().position(|c| c.id == id)?;
        let check = &self.checks[at];
        let settled = check.verdict.as_ref().filter(|v| v.good);
        let (verdict, note) = match settled {
            Some(v) if v.frame == frame => (None, None),
            Some(_) => (
                None,
                Some(Note::Ignored(
                    "This check was answered already, and its nonce is used up. The other answer was not looked at: begin a new check for it.",
                )),
            ),
            None => (Some(judge(root, self, check, frame, now)), None),
        };
        let check = &mut self.checks[at];
        check.note = note;
        if verdict.is_some() {
            check.verdict = verdict;
        }
        Some(check.clone())
    }
}

fn read(root: &[u8; 32], inner: &Inner, frame: &[u8], now: u64) -> Verdict {
    let v = match verify_with(frame, Question::new(root), &inner.lists, now) {
        Ok(v) => v,
        Err(e) => return refused(&e, inner, None, frame, now),
    };
    let (title, why) = match (&v.revocation, v.clean) {
        (Revocation::Revoked { .. }, _) => ("Revoked", v.revocation.in_words()),
        (_, false) if !v.contradictions.is_empty() => {
            ("Contradicts itself", v.in_words().join(" "))
        }
        (_, false) => ("Verified, and not clean", v.in_words().join(" ")),
        _ => (
            "Verified: it tells of the past",
            "The signatures are good. It says what happened then, not how the device is now: for that, begin a check with a nonce of your own."
                .to_owned(),
        ),
    };
    verdict(false, title, why, Some(v), frame, now)
}

fn verdict(
    good: bool,
    title: &'static str,
    why: String,
    signed: Option<Verified>,
    frame: &[u8],
    at: u64,
) -> Verdict {
    Verdict {
        good,
        title,
        why,
        signed,
        frame: frame.to_vec(),
        at,
    }
}

fn judge(root: &[u8; 32], inner: &Inner, check: &Check, frame: &[u8], now: u64) -> Verdict {
    if now > check.began + NONCE_LIFE_S {
        let why = "This check’s nonce is more than a day old. Begin a new check, and ask the device again.";
        return verdict(false, "Nonce too old", why.to_owned(), None, frame, now);
    }
    let question = Question {
        device_id: Some(&check.device_id),
        asked: Some(Asked {
            nonce: &check.nonce,
            earlier: &[],
        }),
        ..Question::new(root)
    };
    let v = match verify_with(frame, question, &inner.lists, now) {
        Ok(v) => v,
        Err(e) => return refused(&e, inner, Some(check), frame, now),
    };
    let (good, title, why) = match (&v.revocation, v.clean, v.subject) {
        (Revocation::Revoked { .. }, ..) => (false, "Revoked", v.revocation.in_words()),
        (_, false, ..) if !v.contradictions.is_empty() => (
            false,
            "Contradicts itself",
            v.in_words().join(" "),
        ),
        (_, false, ..) if v.verdict == Judged::NotChecked => (
            false,
            "Not checked",
            "What it signed holds together, but the maker’s model list does not know this model: there is nothing to hold it against. Ask the maker for its newest list.".to_owned(),
        ),
        (_, false, ..) => (
            false,
            "Not clean",
            not_clean(&v),
        ),
        (_, true, SubjectKind::Stored) => (
            false,
            "Not this question",
            "It answers a storage check, which is judged where its cable is.".to_owned(),
        ),
        (_, true, SubjectKind::Clean) => (
            true,
            "Proven clean",
            "This device read all of its storage again just now, found it blank, and signed that over this desk’s fresh nonce.".to_owned(),
        ),
        // It answers no nonce, and was refused for that above.
        (_, true, SubjectKind::Wipe) => {
            return refused(&Refusal::Nonce, inner, Some(check), frame, now);
        }
    };
    verdict(good, title, why, Some(v), frame, now)
}

/// Which part is not clean, and what to do. The device itself has signed it.
fn not_clean(v: &Verified) -> String {
    let mut failed = Vec::new();
    if !v.slots_blank {
        failed.push(
            "a key slot is not blank, so what opens the account’s data may still be in it"
                .to_owned(),
        );
    }
    if v.erased < v.sectors {
        let kept = v.sectors - v.erased;
        failed.push(format!(
            "{kept} of {} of its storage are not blank",
            count(v.sectors.into(), "sector")
        ));
    }
    format!(
        "The device itself says that it is not clean: {}. Do not hand it on. Let it wipe itself once more from its menu, and ask it again; if that fails too, have its storage destroyed or send it to its maker.",
        failed.join("; ")
    )
}

/// A refusal in words.
fn refused(e: &Refusal, inner: &Inner, check: Option<&Check>, frame: &[u8], now: u64) -> Verdict {
    let (title, why) = match e {
        Refusal::NoReceipt(_) => (
            "Not an answer",
            "These bytes are nothing that a device signs.".to_owned(),
        ),
        Refusal::Certificate(_) => (
            "Forged, or another maker’s",
            "The key that signed it was never certified by this maker.".to_owned(),
        ),
        Refusal::Signature(_) => (
            "Altered",
            "The device’s signature does not verify: something in it was changed after it was signed.".to_owned(),
        ),
        Refusal::Device(id) => (
            "Another device",
            format!(
                "The answer was signed by {id}, and the label on the desk says {}.",
                check.map_or("something else", |c| c.device_id.as_str())
            ),
        ),
        Refusal::Nonce => replayed(inner, check, frame),
    };
    verdict(false, title, why, None, frame, now)
}

/// Whose nonce an answer to the wrong one answers.
fn replayed(inner: &Inner, check: Option<&Check>, frame: &[u8]) -> (&'static str, String) {
    // Its signature is good: only the nonce was wrong.
    let answered = batch::answered_nonce(frame);
    let Some(nonce) = answered else {
        return (
            "A receipt, not an answer",
            "This is the receipt of a wipe. It answers no nonce, so it could have been made long ago, and says nothing about now.".to_owned(),
        );
    };
    let other = inner.checks.iter().find(|c| c.nonce == nonce);
    match other {
        // Found: a device still showed its last answer, and an honest one was
        // called a replay.
        Some(c) if check.is_some_and(|now| c.id != now.id && c.device_id.eq_ignore_ascii_case(&now.device_id)) => (
            "The answer to an earlier question",
            format!(
                "The device still shows what it answered to the check of {}. That proves nothing about now: give it this check’s question, and take the answer that it shows then.",
                nrd_sim_base::time_format::moment(c.began)
            ),
        ),
        Some(c) if Some(&c.id) != check.map(|c| &c.id) => (
            "Replayed",
            format!(
                "It answers another check of this desk, the one of {}: an old answer shown again.",
                nrd_sim_base::time_format::moment(c.began)
            ),
        ),
        _ => (
            "Replayed",
            "It answers a nonce that this desk did not ask now: an old answer, or one made for somebody else.".to_owned(),
        ),
    }
}
