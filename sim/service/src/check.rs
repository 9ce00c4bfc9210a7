//! Looks at a service's folder, keys and database, before a start or beside a
//! running service, and says what to mend. It changes nothing.

use super::ca;
use super::keys::KEY_FILES;
use super::store::{Content, Look, count_revocations, look};
use super::{Error, Keys, ServicePaths};
use nrd_agent::wire::{self, Delegation};
use nrd_agent_derive::Named;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::{secret_file, sign, time_format};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Named)]
pub enum Grade {
    /// As it should be.
    Good,
    /// The service works, and this should be mended.
    Mend,
    /// The service does not start, or a promise of it does not hold.
    Bad,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub grade: Grade,
    /// What was seen.
    pub says: String,
    /// What to do; empty where nothing is.
    pub mend: &'static str,
}

/// A time that no clock shows before this program was made: 1 January 2026.
const NOT_BEFORE_S: u64 = 1_767_225_600;
/// Nor after this one: 1 January 2100.
const NOT_AFTER_S: u64 = 4_102_444_800;
/// Clocks may differ by this much, in seconds.
const TOLERANCE_S: u64 = 5;
/// Room on a disk below which something should be done, and below which removals
/// are about to fail.
const ROOM: u64 = 1 << 30;
const LITTLE_ROOM: u64 = 64 << 20;
/// A root certificate that ends this soon: devices need another one before.
const SOON_S: u64 = 365 * 86_400;

/// The findings so far.
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &str, grade: Grade, says: impl Into<String>, mend: &'static str) {
        self.0.push(Finding {
            check: check.to_owned(),
            grade,
            says: says.into(),
            mend,
        });
    }

    fn good(&mut self, check: &str, says: impl Into<String>) {
        self.add(check, Grade::Good, says, "");
    }
}

/// Looks at everything. `backups`: where copies are kept; `now_s`: Unix seconds.
pub fn check(place: &ServicePaths, backups: Option<&Path>, now_s: u64) -> Vec<Finding> {
    let mut f = Findings(Vec::new());
    if nothing_here(place) {
        let says = format!("{}: no service has run here", place.dir.display());
        let mend = "name the --dir (and --keys) of one that has; before a first start there is nothing to look at";
        f.add("folder", Grade::Bad, says, mend);
        return f.0;
    }
    let keys = check_keys(&mut f, &place.keys);
    check_authority(&mut f, &place.keys, now_s);
    check_modes(&mut f, place);
    check_log(&mut f, place);
    let seen = check_database(&mut f, place);
    if let Some(content) = seen.as_ref().and_then(|look| look.content.as_ref()) {
        check_content(&mut f, content, keys.as_ref());
    }
    check_clock(&mut f, seen.as_ref(), now_s);
    check_disks(&mut f, place, backups);
    f.0
}

/// Whether there is no trace of a service: ten lines about what is missing would
/// only hide that the folder is the wrong one.
fn nothing_here(place: &ServicePaths) -> bool {
    let kept = ["service.db", "revocations.log"].map(|name| place.dir.join(name));
    let keys = KEY_FILES.map(|file| place.keys.join(file.name));
    place.database.is_none() && !kept.iter().chain(&keys).any(|file| file.exists())
}

fn check_keys(f: &mut Findings, dir: &Path) -> Option<Keys> {
    let [root, master, maker] = KEY_FILES.map(|file| {
        let path = dir.join(file.name);
        match secret_file::read(&path) {
            Ok(secret) => {
                f.good(file.name, file.purpose);
                Some(secret)
            }
            Err(_) if !path.exists() => {
                f.add(
                    file.name,
                    Grade::Bad,
                    format!("missing ({})", file.purpose),
                    "restore it from your backup of the keys; a start makes a new one, which no database and no device knows",
                );
                None
            }
            Err(e) => {
                f.add(
                    file.name,
                    Grade::Bad,
                    e.to_string(),
                    "chmod 600, owned by whoever runs the service; or restore it from your backup of the keys",
                );
                None
            }
        }
    });
    Some(Keys::new(&*root?, &*master?, &*maker?))
}

fn check_authority(f: &mut Findings, dir: &Path, now_s: u64) {
    let (check, mend) = (
        "certificate authority",
        "restore ca.pem and ca.key from your backup of the keys; new ones are known to no device",
    );
    match ca::inspect(dir) {
        Ok(Some((from, until))) if now_s < from || now_s >= until => f.add(
            check,
            Grade::Bad,
            format!(
                "good from {} to {} alone",
                time_format::day(from),
                time_format::day(until)
            ),
            "set the clock; or move devices to another root (OPERATIONS, Certificates)",
        ),
        Ok(Some((_, until))) if until - now_s < SOON_S => f.add(
            check,
            Grade::Mend,
            format!("ends on {}", time_format::day(until)),
            "move devices to another root before (OPERATIONS, Certificates)",
        ),
        Ok(Some((_, until))) => f.good(check, format!("until {}", time_format::day(until))),
        Ok(None) => f.add(check, Grade::Mend, "none yet", "a start makes it"),
        Err(e) => f.add(check, Grade::Bad, e.to_string(), mend),
    }
}

/// Nobody else may read what the service keeps, or put something in its place.
fn check_modes(f: &mut Findings, place: &ServicePaths) {
    let mode = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some(meta.permissions().mode())
    };
    for (check, dir) in [("folder", &place.dir), ("folder of keys", &place.keys)] {
        match mode(dir) {
            Some(mode) if mode & 0o022 != 0 => f.add(
                check,
                Grade::Mend,
                format!("{}: others may write here", dir.display()),
                "chmod 700",
            ),
            Some(_) => f.good(check, dir.display().to_string()),
            None => f.add(
                check,
                Grade::Bad,
                format!("{}: not there, or closed to you", dir.display()),
                "--dir and --keys of the service",
            ),
        }
    }
    let mut open = Vec::new();
    for name in [
        "service.db",
        "service.db-wal",
        "service.db-shm",
        "service.db.damaged",
        "revocations.log",
        "revocations.unreadable",
    ] {
        if mode(&place.dir.join(name)).is_some_and(|mode| mode & 0o077 != 0) {
            open.push(name);
        }
    }
    if open.is_empty() {
        f.good("file modes", "nobody else reads database and log");
    } else {
        let says = format!("others can read {}", open.join(", "));
        f.add("file modes", Grade::Mend, says, "chmod 600");
    }
}

fn check_log(f: &mut Findings, place: &ServicePaths) {
    let check = "revocation log";
    match count_revocations(place) {
        Ok(Some((lines, 0))) => f.good(check, time_format::count(lines, "line")),
        Ok(Some((lines, unreadable))) => f.add(
            check,
            Grade::Mend,
            format!("{unreadable} of {lines} lines are not understood"),
            "a start puts them into revocations.unreadable; look at them there: a whole line is a removal that was confirmed",
        ),
        Ok(None) => f.add(
            check,
            Grade::Mend,
            "none",
            "right before the first start; else bring it back before the next one, or removals since the last copy of the database are forgotten",
        ),
        Err(e) => f.add(check, Grade::Bad, e.to_string(), "a file that the service may read and write"),
    }
}

fn check_database(f: &mut Findings, place: &ServicePaths) -> Option<Look> {
    let seen = match look(place) {
        Ok(seen) => seen,
        Err(e) => {
            let mend = match (&place.database, &e) {
                (Some(_), Error::Content(..)) => "the address, as the message says",
                (Some(_), _) => "start the server, and check --database and its rights",
                (None, _) if !place.dir.join("service.db").exists() => {
                    "right before the first start; else `nrd-sim restore` a copy"
                }
                (None, _) => "`nrd-sim restore` a copy, or end the program that holds it",
            };
            f.add("database", Grade::Bad, e.to_string(), mend);
            return None;
        }
    };
    f.good("database", "answers, and can be written");
    let (found, ours) = seen.schema;
    match found.cmp(&ours) {
        std::cmp::Ordering::Equal => f.good("schema", format!("version {found}")),
        std::cmp::Ordering::Less => f.add(
            "schema",
            Grade::Mend,
            format!("version {found}, before this program's {ours}"),
            "copy the database, then start: that brings it up",
        ),
        std::cmp::Ordering::Greater => f.add(
            "schema",
            Grade::Bad,
            format!("version {found}, after this program's {ours}"),
            "run the newer version of this program",
        ),
    }
    Some(seen)
}

fn check_content(f: &mut Findings, content: &Content, keys: Option<&Keys>) {
    if content.missing_logs > 0 {
        f.add(
            "restored database",
            Grade::Bad,
            format!("{} not replayed since", time_format::count(content.missing_logs, "revocation log")),
            "start the processes that have them, or say that they are gone (`nrd-sim revocation-logs`); no token is renewed until then",
        );
    }
    let Some(keys) = keys else {
        return;
    };
    let others: Vec<&str> = keys
        .owners()
        .iter()
        .filter(|(name, public)| {
            let known = content.owners.iter().find(|(known, _)| known == name);
            known.is_some_and(|(_, known)| known != public)
        })
        .map(|(name, _)| *name)
        .collect();
    if others.is_empty() {
        f.good("keys and database", "belong together");
    } else {
        f.add(
            "keys and database",
            Grade::Bad,
            format!("the database knows another {}", others.join(", ")),
            "--keys with the folder that the other processes use, or the right --database",
        );
    }
    let check = "delegation";
    let Some(row) = &content.delegation else {
        f.add(check, Grade::Mend, "none yet", "a start makes it");
        return;
    };
    let root = content.newest_root.unwrap_or_else(|| keys.root_public());
    match wire::decode_signed::<Delegation, RingCrypto>(&row.frame, &root) {
        Ok(d) if d.session_key == sign::public(&keys.session) => f.good(
            check,
            format!("order key {}, signed by the newest root", row.order_key),
        ),
        Ok(_) => f.add(
            check,
            Grade::Bad,
            "names another session key",
            "`nrd-sim rotate-order-key`, with the right --keys",
        ),
        Err(_) => f.add(
            check,
            Grade::Bad,
            "not signed by the newest root",
            "`nrd-sim rotate-order-key`, with the root's file in --keys",
        ),
    }
}

fn check_clock(f: &mut Findings, seen: Option<&Look>, now_s: u64) {
    let (check, mend) = ("clock", "set it by NTP, before the start");
    let says = time_format::moment(now_s);
    let newest = seen
        .and_then(|look| look.content.as_ref())
        .map_or(0, |content| content.newest_s);
    let theirs = seen.and_then(|look| look.clock_s).unwrap_or(now_s);
    if !(NOT_BEFORE_S..NOT_AFTER_S).contains(&now_s) {
        f.add(check, Grade::Bad, format!("{says}: that cannot be"), mend);
    } else if newest > now_s + TOLERANCE_S {
        let says = format!(
            "{says}: before {}, when this service signed last",
            time_format::moment(newest)
        );
        f.add(check, Grade::Bad, says, mend);
    } else if theirs.abs_diff(now_s) > TOLERANCE_S {
        let says = format!(
            "{says}: the database's is {} s away",
            theirs.abs_diff(now_s)
        );
        f.add(check, Grade::Mend, says, "set both by NTP");
    } else {
        f.good(check, says);
    }
}

fn check_disks(f: &mut Findings, place: &ServicePaths, backups: Option<&Path>) {
    let mut disks: Vec<(&str, PathBuf)> = vec![("disk of database and log", place.dir.clone())];
    if place.database.is_some() {
        // Its disk is the server's to watch.
        disks = vec![("disk of the log", place.dir.clone())];
    }
    disks.extend(backups.map(|dir| ("disk of backups", dir.to_owned())));
    for (check, dir) in disks {
        let free = match rustix::fs::statvfs(&dir) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(e) => {
                let says = format!("{}: {e}", dir.display());
                f.add(check, Grade::Bad, says, "a folder that is there");
                continue;
            }
        };
        let says = format!("{} MiB free", free >> 20);
        match free {
            0..LITTLE_ROOM => f.add(
                check,
                Grade::Bad,
                says,
                "make room: removals are about to fail",
            ),
            LITTLE_ROOM..ROOM => f.add(check, Grade::Mend, says, "make room"),
            ROOM.. => f.good(check, says),
        }
    }
}
