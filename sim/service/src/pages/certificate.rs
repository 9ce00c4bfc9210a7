//! A certificate of sanitization to print, with fields after NIST SP 800-88
//! Rev. 2 (`docs/SANITIZATION.md` says which). What the device signed is
//! filled in and marked; what no receipt can know is left to fill in by hand.

use askama::Template;
use nrd_agent::wire::Method;
use nrd_sim_base::time_format::moment;
use nrd_sim_forensics::verify::{SubjectKind, Verified};

/// One field.
pub(super) struct Field {
    name: &'static str,
    /// `None`: to fill in by hand.
    value: Option<String>,
    /// The device's own signature covers it.
    signed: bool,
    /// To be compared letter by letter.
    code: bool,
}

/// Boxes to tick, with those that the receipt ticks.
pub(super) struct Choice {
    name: &'static str,
    options: Vec<(&'static str, bool)>,
    signed: bool,
}

/// The page.
#[derive(Template)]
#[template(path = "certificate.html")]
pub(super) struct Certificate {
    /// False: this certifies nothing.
    good: bool,
    media: Vec<Field>,
    choices: Vec<Choice>,
    details: Vec<Field>,
    limits: Vec<String>,
    digest: String,
    printed: String,
    /// The page that it came from.
    back: String,
    /// The site's name and first page.
    site: (&'static str, &'static str),
}

fn hand(name: &'static str) -> Field {
    Field {
        name,
        value: None,
        signed: false,
        code: false,
    }
}

fn signed(name: &'static str, value: String) -> Field {
    Field {
        name,
        value: Some(value),
        signed: true,
        code: false,
    }
}

impl Certificate {
    /// A certificate of `v`, printed at `now` (Unix seconds); `back` is the
    /// page that it came from.
    pub(super) fn new(v: &Verified, now: u64, back: String) -> Certificate {
        let good = v.clean && !v.revocation.revoked();
        Certificate {
            good,
            media: media(v),
            choices: choices(v, good),
            details: details(v),
            limits: v.limits(),
            digest: v.digest.clone(),
            printed: moment(now),
            site: if back.starts_with("/desk") {
                ("Returns desk", "/desk")
            } else {
                ("Reference account site", "/account")
            },
            back,
        }
    }
}

fn media(v: &Verified) -> Vec<Field> {
    vec![
        hand("Make / vendor"),
        signed("Model number", v.model.clone()),
        Field {
            code: true,
            ..signed("Serial number (device id)", v.device_id.clone())
        },
        hand("Media property number"),
        Field {
            signed: false,
            ..signed(
                "Media type",
                "NOR flash and its key slots, in the device".to_owned(),
            )
        },
        hand("Source (person or property number)"),
        hand("Classification before"),
        hand("Data backed up (yes, no, unknown), and where"),
    ]
}

/// The boxes. A box is ticked only for what this receipt says: where nothing
/// was proven (`good` is false) every box stays empty.
fn choices(v: &Verified, good: bool) -> Vec<Choice> {
    vec![
        Choice {
            name: "Method type",
            options: vec![
                ("Clear", good && v.method == Method::Clear),
                ("Purge", good && v.method == Method::Purge),
                ("Damage", false),
                ("Destruct", false),
            ],
            signed: good,
        },
        Choice {
            name: "Method used",
            options: vec![
                ("Degauss", false),
                ("Overwrite", good && v.subject == SubjectKind::Stored),
                ("Block erase", good && v.subject != SubjectKind::Clean),
                // A proof says that storage and slots are blank, not how
                // they came to be.
                ("Crypto erase", good && v.subject == SubjectKind::Wipe),
                ("Other", false),
            ],
            signed: good && v.subject != SubjectKind::Clean,
        },
        Choice {
            name: "Verification method",
            options: vec![("Full", good), ("Quick sampling", false), ("Other", false)],
            signed: good,
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
    let method = match v.subject {
        SubjectKind::Stored => format!(
            "{} bytes that a desk sent stored, read back under its key, erased, read back",
            v.stored_bytes.unwrap_or(0)
        ),
        SubjectKind::Clean => "storage and key slots read back when asked".to_owned(),
        SubjectKind::Wipe => "keys destroyed, then every sector erased".to_owned(),
    };
    let slots = if v.slots_blank { "blank" } else { "NOT blank" };
    let mut details = vec![
        signed(
            "Tool used (and version)",
            format!("nrd-agent {}, in the device", v.agent_version),
        ),
        signed("Method details", method),
        signed(
            "Verification details",
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
            ..signed("Nonce answered", nonce.clone())
        });
    }
    details.extend([
        hand("Classification after"),
        hand("Destination (reuse, return to maker, recycling …)"),
        hand("Notes"),
    ]);
    details
}
