//! What a receipt says, in words: the same on the account page, at the returns
//! desk and on the certificate.

use super::{SubjectKind, Verified};
use nrd_agent::wire::Method;
use nrd_sim_base::time_format::{count, moment};
use nrd_verifier::Verdict;

/// A line of what was signed: its name, its value, and whether it is to be
/// compared letter by letter.
pub type Fact = (&'static str, String, bool);

impl Verified {
    /// What happened, in one to three sentences.
    pub fn in_words(&self) -> Vec<String> {
        let kind = nrd_sim_base::device_kind::name(self.kind);
        let who = format!("The {kind} {} ({})", self.device_id, self.model);
        let when = match self.wall_s {
            Some(s) => format!("On {}, by its own clock,", moment(s)),
            None => format!(
                "After {} of its life (it keeps no wall clock),",
                count(u64::from(self.powered_s / 3600), "powered hour")
            ),
        };
        if !self.contradictions.is_empty() {
            return vec![
                format!(
                    "{who} signed this, and it contradicts itself: no device with its maker’s software signs it."
                ),
                format!("{}.", self.contradictions.join("; ")),
            ];
        }
        let read_back = format!(
            "{} of {} were read back blank",
            self.erased,
            count(self.sectors.into(), "sector")
        );
        let what = match (self.subject, self.method != Method::Failed) {
            (SubjectKind::Wipe, true) => format!(
                "{when} it destroyed its keys, erased everything it had stored of the account, and read it all back: {read_back}."
            ),
            (SubjectKind::Wipe, false) => format!(
                "{when} it tried to wipe itself, and reports that this failed: {read_back}, {} would not erase{}.",
                self.failed,
                if self.slots_blank {
                    ""
                } else {
                    ", and a key slot is not blank"
                }
            ),
            (SubjectKind::Stored, true) => format!(
                "{when} it stored {} that a desk sent, answered for them under a key that came after them, erased them, and read its storage back: {read_back}.",
                count(self.stored_bytes.unwrap_or(0).into(), "byte")
            ),
            (SubjectKind::Clean, true) => format!(
                "{when} it read its whole storage again and found nothing in it: {read_back}{}.",
                if self.slots_blank {
                    ", and both key slots are blank"
                } else {
                    ", and a key slot is not blank"
                }
            ),
            (SubjectKind::Clean | SubjectKind::Stored, false) => format!(
                "{when} it read its storage again, and it is not clean: {read_back}{}.",
                if self.slots_blank {
                    ""
                } else {
                    ", and a key slot is not blank"
                }
            ),
        };
        let why = match self.reason {
            Some(reason) => format!("{who} was wiped: {reason}."),
            None => format!("{who} was asked here, and answered."),
        };
        vec![why, what, self.method_in_words().to_owned()]
    }

    /// What NIST SP 800-88 Rev. 2 calls it (`docs/SANITIZATION.md`).
    pub fn method_in_words(&self) -> &'static str {
        match (self.method, self.subject) {
            (Method::Purge, SubjectKind::Wipe) => {
                "In the words of NIST SP 800-88 Rev. 2 this is purge, by cryptographic erase: the only keys that opened the data were erased from the cells that held them; the data itself was block-erased as well. The device verified this itself; validating it is left to whoever accepts it."
            }
            (Method::Clear, SubjectKind::Wipe) => {
                "In the words of NIST SP 800-88 Rev. 2 this is clear: the keys were erased as far as this kind of storage allows, and the data was erased and read back through its ordinary interface. The device verified this itself; validating it is left to whoever accepts it."
            }
            (Method::Purge, SubjectKind::Clean | SubjectKind::Stored) => {
                "It names the method purge (NIST SP 800-88 Rev. 2): its key slots are of a kind whose erase reaches the cells themselves, and they are blank. The device verified this itself; validating it is left to whoever accepts it."
            }
            (Method::Clear, SubjectKind::Clean | SubjectKind::Stored) => {
                "It names the method clear (NIST SP 800-88 Rev. 2): its key slots are blank, on storage whose erase is no more than logical. The device verified this itself; validating it is left to whoever accepts it."
            }
            (Method::Failed, _) => {
                "In the words of NIST SP 800-88 Rev. 2 this is neither clear nor purge: a step failed."
            }
        }
    }

    /// Every line of what was signed.
    pub fn facts(&self) -> Vec<Fact> {
        let text = |name, value: &str| (name, value.to_owned(), false);
        let exact = |name, value: &str| (name, value.to_owned(), true);
        let yes_no = |yes, a: &str, b: &str| if yes { a.to_owned() } else { b.to_owned() };
        let mut out = vec![
            exact("Device id", &self.device_id),
            text("Model", &self.model),
            text(
                "About",
                match self.subject {
                    SubjectKind::Wipe => "a wipe that it carried out",
                    SubjectKind::Stored => {
                        "a storage check: its storage, filled by a desk, read back and erased"
                    }
                    SubjectKind::Clean => "its storage, read again when it was asked",
                },
            ),
        ];
        if let Some(reason) = self.reason {
            out.push(text("Why", reason));
        }
        if let Some(nonce) = &self.nonce {
            out.push(exact("Nonce answered", nonce));
        }
        if let Some(bytes) = self.stored_bytes {
            out.push(text("Stored and read back", &count(bytes.into(), "byte")));
        }
        out.push(text(
            "Sectors",
            &match self.failed {
                0 => format!("{} of {} blank", self.erased, self.sectors),
                n => format!("{} of {} blank, {n} failed", self.erased, self.sectors),
            },
        ));
        out.push((
            "Key slots",
            yes_no(self.slots_blank, "both read back blank", "NOT blank"),
            false,
        ));
        out.push((
            "Epoch",
            match self.subject {
                SubjectKind::Wipe => format!(
                    "epoch {} ended; the counter stands at {}",
                    self.epoch, self.counter
                ),
                SubjectKind::Clean | SubjectKind::Stored => {
                    format!("{}; the counter stands at {}", self.epoch, self.counter)
                }
            },
            false,
        ));
        if let Some(s) = self.wall_s {
            out.push(text("Device’s clock", &moment(s)));
        }
        out.push((
            "Powered hours of its life",
            (self.powered_s / 3600).to_string(),
            false,
        ));
        out.push(text("Agent version", &self.agent_version));
        if let Some(order) = &self.order {
            out.push(exact("Order carried out", order));
        }
        if let Some(previous) = &self.previous {
            out.push(exact("Receipt before it", previous));
        }
        out.push(exact("Digest of this", &self.digest));
        out
    }

    /// What it cannot show, and what deserves a second look.
    pub fn limits(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut add = |is: bool, text: &str| {
            if is {
                out.push(text.to_owned());
            }
        };
        add(
            true,
            "It shows that this device’s key signed it. Where the device starts only its maker’s software, that software said so; elsewhere anybody who holds the key could have.",
        );
        add(
            true,
            "It cannot show that nobody copied the storage before.",
        );
        add(
            self.subject == SubjectKind::Wipe,
            "It tells of that one wipe, not of how the device is today: a returns desk asks it again, with a nonce of its own.",
        );
        add(
            self.subject == SubjectKind::Clean,
            "The device’s own software read the storage, and nobody else did. A storage check over a cable needs less trust in it.",
        );
        add(
            self.subject == SubjectKind::Clean,
            "It says what is there now, not who erased it, nor when: that is what the receipt of a wipe says.",
        );
        add(
            self.subject == SubjectKind::Stored,
            "Only the desk that drew the bytes can tell whether the digest in it is theirs, and how long the answer took: without that desk’s word this is the device’s own statement.",
        );
        add(
            !self.slots_outside_image,
            "The key slots lie on the same flash as the data: whoever copied all of it before, and can extract the device’s root key, can open that copy.",
        );
        add(
            !self.root_refuses_past,
            "Its root key does not refuse past epochs: an old copy of the flash, put back, might open.",
        );
        add(
            self.counter_worn_out,
            "Its counter is worn out and could not be raised; it will not be activated again.",
        );
        add(
            self.tombstone_failed,
            "The wipe’s journal entry could not be written; the keys were destroyed all the same.",
        );
        add(
            self.dropped > 0,
            "Older receipts of this device were dropped before they were delivered.",
        );
        add(
            self.verdict == Verdict::NotChecked,
            "Nothing was at hand to hold it against: it is the device’s word.",
        );
        add(
            !self.model_checked,
            "Not held against the maker’s model list: its sectors and what its key slots guarantee are the device’s word.",
        );
        out.push(self.revocation.in_words());
        out
    }
}
