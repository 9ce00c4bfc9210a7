//! A certificate of sanitization on one page, with fields after NIST SP 800-88
//! Rev. 2. What the device signed is filled in and marked; what no receipt can
//! know is left to fill in by hand.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the fields, from a receipt that was verified |
//! | `pdf.rs` | the page as PDF, A4 or Letter |
//! | `pen.rs` | text, lines and boxes on a page of a PDF |
//!
//! The page for a browser is `pages/certificate.rs`, from the same fields.

mod pdf;
mod pen;

pub use pdf::{Paper, PdfError};

use crate::desk::answer_text;
use nrd_agent::wire::Method;
use nrd_sim_base::steers;
use nrd_sim_base::time_format::moment;
use nrd_sim_forensics::verify::{SubjectKind, Verified};

/// One field.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// `None`: to fill in by hand.
    pub value: Option<String>,
    /// The device's own signature covers it.
    pub signed: bool,
    /// To be compared letter by letter.
    pub code: bool,
}

/// Boxes to tick, with those that the receipt ticks.
pub struct Choice {
    /// What is chosen.
    pub name: &'static str,
    /// Words, and whether the box is ticked.
    pub options: Vec<(&'static str, bool)>,
    /// The device's own signature covers it.
    pub signed: bool,
}

/// Who works at the desk, as far as it was said. No control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    clerk: Option<String>,
    shop: Option<String>,
}

impl Names {
    /// Longest name, in characters.
    pub const MAX: usize = 60;

    /// From what a person typed; empty is none. `None`: longer than a line of
    /// the certificate, or with control characters.
    pub fn new(clerk: &str, shop: &str) -> Option<Names> {
        let name = |text: &str| {
            let text = text.trim();
            let fits = text.chars().count() <= Names::MAX && !text.contains(steers);
            fits.then(|| Some(text.to_owned()).filter(|t| !t.is_empty()))
        };
        Some(Names {
            clerk: name(clerk)?,
            shop: name(shop)?,
        })
    }

    /// The clerk's, or nothing.
    pub fn clerk(&self) -> &str {
        self.clerk.as_deref().unwrap_or_default()
    }

    /// The shop's, or nothing.
    pub fn shop(&self) -> &str {
        self.shop.as_deref().unwrap_or_default()
    }
}

/// What a certificate says.
pub struct Certificate {
    /// False: this certifies nothing.
    pub proven: bool,
    /// The device and its storage.
    pub media: Vec<Field>,
    /// Method and technique.
    pub choices: Vec<Choice>,
    /// Tool, verification, date.
    pub details: Vec<Field>,
    /// Where the device goes now.
    pub destination: Choice,
    /// Who sanitized, and who validated: heading and fields.
    pub people: [(&'static str, Vec<Field>); 2],
    /// What the one who validates has looked at.
    pub validation: Choice,
    /// What the signature cannot show.
    pub limits: Vec<String>,
    /// Digest of the device's statement.
    pub digest: String,
    /// The statement itself, as the text of its code.
    pub code: String,
    /// When this page was made.
    pub printed: String,
}

fn hand(name: &'static str) -> Field {
    Field {
        name,
        value: None,
        signed: false,
        code: false,
    }
}

fn known(name: &'static str, value: String) -> Field {
    Field {
        value: Some(value),
        ..hand(name)
    }
}

fn signed(name: &'static str, value: String) -> Field {
    Field {
        signed: true,
        ..known(name, value)
    }
}

impl Certificate {
    /// A certificate of what `v` says, which was verified from `frame`; made
    /// at `now` (Unix seconds) by `names`.
    pub fn new(v: &Verified, frame: &[u8], names: &Names, now: u64) -> Certificate {
        let proven = v.clean && !v.revocation.revoked();
        Certificate {
            proven,
            media: media(v),
            choices: choices(v, proven),
            details: details(v),
            destination: Choice {
                name: "Destination",
                options: [
                    "Reuse",
                    "Sale",
                    "Back to the maker",
                    "Donation",
                    "Recycling",
                    "Destruction",
                    "Other:",
                ]
                .map(|word| (word, false))
                .to_vec(),
                signed: false,
            },
            people: [
                ("Sanitization performed by", person(names)),
                ("Validated by", person(&Names::default())),
            ],
            validation: Choice {
                name: "Validation",
                options: [
                    "The id on the device’s label is the one above",
                    "The code of this page was verified with the maker’s root key",
                    "The maker’s status list was consulted",
                ]
                .map(|word| (word, false))
                .to_vec(),
                signed: false,
            },
            limits: v.limits(),
            digest: v.digest.clone(),
            code: answer_text(frame),
            printed: moment(now),
        }
    }

    /// Every field, in the order of the page.
    fn fields(&self) -> impl Iterator<Item = &Field> {
        let people = self.people.iter().flat_map(|(_, fields)| fields);
        self.media.iter().chain(&self.details).chain(people)
    }
}

fn person(names: &Names) -> Vec<Field> {
    let field = |name, value: &Option<String>| Field {
        value: value.clone(),
        ..hand(name)
    };
    vec![
        field("Name", &names.clerk),
        hand("Title"),
        field("Organization", &names.shop),
        hand("Place"),
        hand("Phone"),
        hand("Date"),
        hand("Signature"),
    ]
}

fn media(v: &Verified) -> Vec<Field> {
    vec![
        hand("Device maker"),
        signed("Model", v.model.clone()),
        Field {
            code: true,
            ..signed("Serial number (device id)", v.device_id.clone())
        },
        hand("Property or asset number"),
        known(
            "Media type",
            "NOR flash and its key slots, in the device".to_owned(),
        ),
        hand("Source (person or number)"),
    ]
}

/// The boxes. A box is ticked only for what this receipt says: where nothing
/// was proven every box stays empty.
fn choices(v: &Verified, proven: bool) -> Vec<Choice> {
    vec![
        Choice {
            name: "Method",
            options: vec![
                ("Clear", proven && v.method == Method::Clear),
                ("Purge", proven && v.method == Method::Purge),
                ("Destroy", false),
            ],
            signed: proven,
        },
        Choice {
            name: "Technique",
            // A proof says that storage and slots are blank, not how they
            // came to be.
            options: vec![
                (
                    "Cryptographic erase",
                    proven && v.subject == SubjectKind::Wipe,
                ),
                ("Block erase", proven && v.subject != SubjectKind::Clean),
                ("Overwrite", proven && v.subject == SubjectKind::Stored),
                ("Other:", false),
            ],
            signed: proven && v.subject != SubjectKind::Clean,
        },
    ]
}

fn details(v: &Verified) -> Vec<Field> {
    let when = match v.wall_s {
        Some(s) => moment(s),
        None => format!(
            "no wall clock; after {} powered hours of its life",
            v.powered_s / 3600
        ),
    };
    let technique = match v.subject {
        SubjectKind::Stored => format!(
            "{} bytes that a desk sent stored, read back under its key, erased, read back",
            v.stored_bytes.unwrap_or(0)
        ),
        SubjectKind::Clean => "storage and key slots read back when asked".to_owned(),
        SubjectKind::Wipe => "keys destroyed, then every sector erased".to_owned(),
    };
    let slots = if v.slots_blank { "blank" } else { "NOT blank" };
    let mut details = vec![
        signed("What was done", technique),
        signed(
            "Tool and version",
            format!("nrd-agent {}, in the device", v.agent_version),
        ),
        signed(
            "Verification, by the device",
            format!(
                "{} of {} sectors read back blank; key slots {slots}",
                v.erased, v.sectors,
            ),
        ),
        signed("Date, by the device", when),
    ];
    if let Some(nonce) = &v.nonce {
        details.push(Field {
            code: true,
            ..signed("Question answered", nonce.clone())
        });
    }
    details
}
