//! Many devices asked with one question, and their answers judged one by one.
//!
//! An answer is signed by its device, so fifty devices may answer one nonce: each
//! counts once, for the device that signed it. A row that is good has a check of
//! its own, with its certificate.

use super::csv;
use super::{Check, Desk, Handed, Inner, MAX_CHECKS, Note, Verdict, read, refused};
use crate::certificate::Names;
use nrd_agent::wire::{Receipt, Subject, peek};
use nrd_sim_base::time_format::moment;
use nrd_sim_base::{hex, printable, random};
use nrd_sim_forensics::verify::{Question, Refusal, Verified, verify_with};

/// Answers that one batch takes.
pub const MAX_ROWS: usize = 500;
/// Batches that a desk remembers; the oldest is dropped for a new one.
pub(super) const MAX_BATCHES: usize = 20;
/// Longest name of a file that is kept, in characters.
const MAX_NAME: usize = 80;

/// Many devices, asked with one question.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Names it in addresses; not a secret.
    pub id: String,
    /// What each device must answer. `None`: receipts are read as they are.
    pub nonce: Option<[u8; 32]>,
    /// When it began, Unix seconds.
    pub began: u64,
    /// The ids on the labels; empty: whoever answers is taken.
    pub labels: Vec<String>,
    /// What was handed in so far, in order.
    pub rows: Vec<Row>,
    /// Files that are still being read.
    pub waiting: usize,
    /// What was handed in and not judged, because the batch is full.
    pub left: usize,
}

/// One thing that was handed in, and what came of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The file's name, or the place in a list.
    pub given: String,
    /// The device that signed it.
    pub device_id: String,
    /// Its model.
    pub model: String,
    /// Green: proven. Nothing else is.
    pub good: bool,
    /// The verdict in a few words.
    pub title: String,
    /// Why, in a sentence or two.
    pub why: String,
    /// The method that the device names.
    pub method: &'static str,
    /// The digest that names what was signed.
    pub statement: String,
    /// The check that it belongs to.
    pub check: Option<String>,
    /// When it was judged, Unix seconds.
    pub at: u64,
}

impl Row {
    fn new(given: &str, title: &str, why: String, at: u64) -> Row {
        let given: String = printable(given).chars().take(MAX_NAME).collect();
        Row {
            given,
            device_id: String::new(),
            model: String::new(),
            good: false,
            title: title.to_owned(),
            why,
            method: "",
            statement: String::new(),
            check: None,
            at,
        }
    }

    /// That of which nothing could be read.
    pub fn unread(given: &str, why: &str, at: u64) -> Row {
        Row::new(given, "Not read", why.to_owned(), at)
    }

    fn judged(given: &str, v: &Verdict) -> Row {
        Row::new(given, v.title, v.why.clone(), v.at).signed(v.signed.as_ref())
    }

    fn signed(self, v: Option<&Verified>) -> Row {
        match v {
            None => self,
            Some(v) => Row {
                device_id: v.device_id.clone(),
                model: v.model.clone(),
                method: v.method.name(),
                statement: v.digest.clone(),
                ..self
            },
        }
    }
}

impl Batch {
    /// The labels whose devices have not answered.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let answered = |label: &str| {
            let of_it = |row: &Row| row.device_id.eq_ignore_ascii_case(label);
            self.rows.iter().any(of_it)
        };
        let labels = self.labels.iter().map(String::as_str);
        labels.filter(move |label| !answered(label))
    }

    /// How many are proven.
    pub fn good(&self) -> usize {
        self.rows.iter().filter(|row| row.good).count()
    }

    /// As a table (RFC 4180), with the names of those who took it in. `link` says
    /// where a row's check or certificate is.
    pub fn csv(&self, names: &Names, link: impl Fn(&Row) -> String) -> String {
        let head = [
            "handed in",
            "device id",
            "model",
            "proven",
            "verdict",
            "why",
            "method",
            "statement",
            "judged",
            "clerk",
            "shop",
            "check",
        ];
        let row = |row: &Row| {
            csv::line([
                row.given.as_str(),
                &row.device_id,
                &row.model,
                if row.good { "yes" } else { "no" },
                &row.title,
                &row.why,
                row.method,
                &row.statement,
                &moment(row.at),
                names.clerk(),
                names.shop(),
                &link(row),
            ])
        };
        let missing = |label: &str| {
            let (title, why) = (NO_ANSWER.0, NO_ANSWER.1);
            let (clerk, shop) = (names.clerk(), names.shop());
            csv::line(["", label, "", "no", title, why, "", "", "", clerk, shop, ""])
        };
        let rows = self.rows.iter().map(row);
        let lines = rows.chain(self.missing().map(missing));
        csv::line(head) + &lines.collect::<String>()
    }
}

/// Of a label whose device has not answered.
pub const NO_ANSWER: (&str, &str) = (
    "No answer yet",
    "No answer of this device was handed in. Its screen says what it is: on an account, locked, busy or off.",
);

impl Desk {
    /// Begins a batch at `now` (Unix seconds), with a fresh question.
    pub fn begin_batch(&self, labels: Vec<String>, now: u64) -> crate::Result<Batch> {
        self.batch_of(Some(random()?), labels, now)
    }

    /// A batch of answers to a question that was asked elsewhere, or of receipts
    /// that answer none.
    pub fn batch_of(
        &self,
        nonce: Option<[u8; 32]>,
        labels: Vec<String>,
        now: u64,
    ) -> crate::Result<Batch> {
        let id: [u8; 8] = random()?;
        let batch = Batch {
            id: hex(&id),
            nonce,
            began: now,
            labels,
            rows: Vec::new(),
            waiting: 0,
            left: 0,
        };
        let mut inner = self.inner();
        inner.batches.truncate(MAX_BATCHES - 1);
        inner.batches.push_front(batch.clone());
        Ok(batch)
    }

    /// The batch of this id.
    pub fn batch(&self, id: &str) -> Option<Batch> {
        self.inner().batches.iter().find(|b| b.id == id).cloned()
    }

    /// The newest batches, newest first.
    pub fn batches(&self) -> Vec<Batch> {
        self.inner().batches.iter().cloned().collect()
    }

    /// Notes how many files of a batch are still to be read.
    pub fn batch_waits(&self, id: &str, files: usize) {
        let mut inner = self.inner();
        if let Some(batch) = inner.batches.iter_mut().find(|b| b.id == id) {
            batch.waiting = files;
        }
        drop(inner);
        self.tell();
    }

    /// Notes that so many files of a batch were not taken: it is full.
    pub fn batch_is_full(&self, id: &str, files: usize) {
        let mut inner = self.inner();
        if let Some(batch) = inner.batches.iter_mut().find(|b| b.id == id) {
            batch.left += files;
        }
        drop(inner);
        self.tell();
    }

    /// Judges one thing that was handed in, and adds its row. `None`: the batch is
    /// gone, or full.
    pub fn take_in(
        &self,
        id: &str,
        given: &str,
        handed: Result<Handed, &'static str>,
        now: u64,
    ) -> crate::Result<Option<Row>> {
        let check: [u8; 8] = random()?;
        let mut inner = self.inner();
        let Some(at) = inner.batches.iter().position(|b| b.id == id) else {
            return Ok(None);
        };
        if inner.batches[at].rows.len() >= MAX_ROWS {
            inner.batches[at].left += 1;
            return Ok(None);
        }
        let row = match handed {
            Err(why) => Row::unread(given, why, now),
            Ok(Handed::State(said)) => {
                let words = said.words();
                let why = format!("{} Next: {}", words.means, words.next);
                Row::new(given, words.title, why, now)
            }
            Ok(Handed::Answer(frame)) => {
                let answer = Answer {
                    root: &self.maker_root,
                    given,
                    frame: &frame,
                    now,
                };
                answer.judge(&mut inner, at, hex(&check))
            }
        };
        inner.batches[at].rows.push(row.clone());
        drop(inner);
        self.tell();
        Ok(Some(row))
    }
}

/// An answer that was handed in with others.
struct Answer<'a> {
    root: &'a [u8; 32],
    given: &'a str,
    frame: &'a [u8],
    now: u64,
}

impl Answer<'_> {
    fn judge(&self, inner: &mut Inner, batch: usize, new: String) -> Row {
        let Answer {
            given, frame, now, ..
        } = *self;
        let question = Question::new(self.root);
        let v = match verify_with(frame, question, &inner.lists, now) {
            Ok(v) => v,
            Err(e) => return Row::judged(given, &refused(&e, inner, None, frame, now)),
        };
        let row = Row::new(given, "", String::new(), now).signed(Some(&v));
        let of = &inner.batches[batch];
        let Some(nonce) = of.nonce else {
            let read = read(self.root, inner, frame, now);
            let good = v.clean && !v.revocation.revoked();
            return Row {
                good,
                ..Row::judged(given, &read)
            };
        };
        let answered = answered_nonce(frame);
        if answered != Some(nonce) {
            // It may answer a check of this desk that was begun by itself.
            let alone = inner.checks.iter().find(|c| Some(c.nonce) == answered);
            return match alone.map(|c| c.id.clone()) {
                Some(id) => self.of_check(inner, &id, row),
                None => {
                    let v = refused(&Refusal::Nonce, inner, None, frame, now);
                    Row {
                        title: v.title.to_owned(),
                        why: v.why,
                        ..row
                    }
                }
            };
        }
        let is_it = |id: &String| id.eq_ignore_ascii_case(&v.device_id);
        if !of.labels.is_empty() && !of.labels.iter().any(is_it) {
            return Row {
                title: "Not on the list".to_owned(),
                why: "It was signed by a device whose label is not among those of this batch."
                    .to_owned(),
                ..row
            };
        }
        if of.rows.iter().any(|r| r.good && is_it(&r.device_id)) {
            return Row {
                title: "Handed in before".to_owned(),
                why:
                    "This device has given a good answer to this question already; it counts once."
                        .to_owned(),
                ..row
            };
        }
        let began = of.began;
        // A device that has answered badly before goes on in the same check.
        let before = |c: &&Check| c.nonce == nonce && is_it(&c.device_id);
        let id = match inner.checks.iter().find(before) {
            Some(check) => check.id.clone(),
            None => {
                inner.checks.truncate(MAX_CHECKS - 1);
                inner.checks.push_front(Check {
                    id: new.clone(),
                    nonce,
                    device_id: v.device_id.clone(),
                    began,
                    verdict: None,
                    note: None,
                });
                new
            }
        };
        self.of_check(inner, &id, row)
    }

    /// The row of an answer that belongs to a check of the desk.
    fn of_check(&self, inner: &mut Inner, id: &str, row: Row) -> Row {
        let Some(check) = inner.submit(self.root, id, self.frame, self.now) else {
            return row;
        };
        match (check.note, check.verdict) {
            (Some(Note::Ignored(why)), _) => Row {
                title: "Answered before".to_owned(),
                why: why.to_owned(),
                check: Some(check.id),
                ..row
            },
            (_, Some(verdict)) => Row {
                good: verdict.good,
                title: verdict.title.to_owned(),
                why: verdict.why,
                check: Some(check.id),
                ..row
            },
            (_, None) => row,
        }
    }
}

/// The nonce that a frame says it answers.
pub(super) fn answered_nonce(frame: &[u8]) -> Option<[u8; 32]> {
    match peek::<Receipt<'_>>(frame).ok()?.subject {
        Subject::Wipe { .. } => None,
        Subject::Clean { nonce } => Some(nonce),
        Subject::Stored { key, .. } => Some(key),
    }
}
