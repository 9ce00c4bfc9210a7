//! Instructions, counted by callgrind: the same on every run of one binary.

use super::Context;
use super::cases::{TIMES, VALUE, engines};
use super::runs::{Whose, peer_name};
use crate::callgrind::{Instructions, missing, run};
use crate::report::{Row, Section, Target};

const ABOUT: &str = "\
Instructions by `valgrind --tool=callgrind`, collected inside one call, the flash \
model's own taken off. valgrind's processor has AES and carry-less \
multiplication but no SHA extensions.

*Boot*, floor: what a boot into a session needs, called bare: nine HKDF (root → \
slot key, journal base, vault base; journal → header, nonce and record key; \
activation key; activation → header and session key), five HMAC (slot, journal \
head, vault head, the charge's nonce), three AEAD opens (snapshot 140 B, \
delegation 160 B, session 49 B), one AEAD seal (the charge).

*Order*: from the frame to a verified order; floor: one Ed25519 verify. *update* and \
*get*: sixteen keys of 256 bytes, each engine's AEAD alone taken off as it calls it \
(ours expands its key and derives a hedged nonce by HMAC each time; the nonce is \
not taken off).";

pub(super) fn section(_: &mut Context) -> Section {
    let mut s = Section::new("instructions", "Instructions", ABOUT);
    s.skipped = missing();
    if s.skipped.is_some() {
        return s;
    }
    match rows() {
        Ok(rows) => {
            s.rows = rows;
            s.after = BEFORE.to_owned();
        }
        Err(why) => s.skipped = Some(why),
    }
    s
}

/// What was changed for it.
const BEFORE: &str = "Before and after, by the same command: at commit 0ebd858 a boot took 1,104,887 \
    instructions (fresh) and 1,092,536 (aged), 4.6 times the floor, and a get 5,621. \
    Half of a boot was the stored delegation's signature, which is now verified when \
    something first hangs on it; most of the rest were keys derived for nothing, which \
    are now expanded when first used; a get now reads in the buffer that is lent to the \
    agent.\n\n";

fn total(case: &str) -> Result<f64, String> {
    run(case).map(|i| i.total as f64)
}

fn rows() -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let floor = total("boot-floor")?;
    for (case, name) in [("boot", "fresh"), ("boot-aged", "aged")] {
        let boot = run(case)?;
        let name = format!("boot, 64 records of {VALUE} B, {name}");
        let row = Row::new(name, "instructions", boot.total as f64)
            .floor(floor, Target::Times(1.25))
            .note(shares(&boot));
        rows.push(row);
    }
    let verify = total("order-floor")?;
    let row = Row::new("order verification", "instructions", total("order")?);
    rows.push(row.floor(verify, Target::Times(1.1)));
    let row = Row::new(
        "an order judged and answered, outcome signed",
        "instructions",
        total("order-applied")?,
    );
    rows.push(row.floor(verify, Target::None));
    for (what, aead, name) in [("put", "seal", "update"), ("get", "open", "get")] {
        let mut ours = 0.0;
        let mut alone = 0.0;
        let mut peers = Vec::new();
        for (engine, whose) in engines() {
            let bare = total(&format!("{aead}:{engine}"))? / TIMES as f64;
            let with = match total(&format!("{what}:{engine}")) {
                Ok(n) => Some(n / TIMES as f64 - bare),
                Err(_) => None,
            };
            match whose {
                Whose::Ours => (ours, alone) = (with.unwrap_or(f64::NAN), bare),
                Whose::Sealed(peer) => peers.push((peer_name(peer), with)),
            }
        }
        rows.push(
            Row::new(format!("{name}, less the AEAD"), "instructions", ours)
                .peers(peers, Target::Ahead)
                .more("our AEAD alone", alone),
        );
    }
    Ok(rows)
}

/// Where a boot's instructions go, for those who want to lower them.
fn shares(i: &Instructions) -> String {
    let of = |names: &[&str]| -> u64 {
        i.own
            .iter()
            .filter(|(f, _)| names.iter().any(|n| f.contains(n)))
            .map(|(_, n)| n)
            .sum()
    };
    let percent = |n: u64| n as f64 * 100.0 / i.total as f64;
    let sha = of(&["sha256"]);
    let curve = of(&["25519", "x25519", "fe_", "ge_"]);
    let aes = of(&["aes", "gcm", "ghash"]);
    format!(
        "SHA-256 {:.0} %, Ed25519 {:.0} %, AES-GCM {:.0} %, the flash model's own (not counted) {}",
        percent(sha),
        percent(curve),
        percent(aes),
        crate::report::short(i.model as f64),
    )
}
