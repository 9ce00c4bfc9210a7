//! A service on a disk that is really full: this test runs itself again in a
//! mount namespace of its own, on a file system of two MiB.

use nrd_sim::service::store::{ActivationPhase, FaultKind};
use nrd_sim::service::{Error, Service};
use nrd_tests::bench::{Bench, HOME, activate};
use nrd_tests::external_tools::skip;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the process that runs on the small disk.
const INSIDE: &str = "NRD_SMALL_DISK";
/// `unshare` for root, and for others where the kernel lets them.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Runs the test of this name again with a small disk, which [`INSIDE`] names, and
/// which is its folder for temporary files if `all` is to be on it; false where no such
/// disk can be had.
fn run_again(test: &str, all: bool) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=2m tmpfs \"$0\"";
    let unshare = |flags: &[&str], then: &str| {
        let mut command = Command::new("unshare");
        let script = format!("{mount} && {then}");
        command.args(flags).args(["sh", "-c", &script]);
        command.arg(folder.path());
        command
    };
    let works = |flags: &&&[&str]| {
        let tried = unshare(flags, "true").output();
        tried.is_ok_and(|o| o.status.success())
    };
    let Some(flags) = NAMESPACES.iter().find(works) else {
        return false;
    };
    let mut again = unshare(flags, "exec \"$@\"");
    if all {
        again.env("TMPDIR", folder.path());
    }
    let ran = again
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let erred = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}{erred}");
    assert!(said.contains("1 passed"), "{said}");
    true
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[0xA5; 4096]).is_ok() {}
    while file.write_all(&[0xA5]).is_ok() {}
}

/// An active device of account `n`.
fn an_activation(bench: &Bench, n: usize, name: &'static str) -> [u8; 16] {
    let holder = bench.account(n);
    let mut device = bench.device(name, 1 + n as u64);
    device.boot(|service, agent| activate(service, agent, holder, true));
    bench.newest(n).id
}

fn phase(service: &Service, id: &[u8; 16]) -> (ActivationPhase, usize) {
    let row = service.store.activation(id).unwrap().unwrap();
    (row.phase, service.store.orders(id).unwrap().len())
}

#[test]
fn a_full_disk_under_sqlite_is_said_and_removes_nothing_falsely() {
    if std::env::var_os(INSIDE).is_none() {
        if !run_again(
            "a_full_disk_under_sqlite_is_said_and_removes_nothing_falsely",
            true,
        ) {
            skip("mount namespace", "SQLite on a full disk");
        }
        return;
    }
    let mut bench = Bench::new();
    let holder = bench.account(0);
    let id = an_activation(&bench, 0, "SMALL-DISK");
    let before = phase(&bench.service, &id);
    let filler = bench.dir.path().join("filler");
    fill(&filler);
    let more = OpenOptions::new()
        .append(true)
        .open(&filler)
        .unwrap()
        .write_all(&[0]);
    assert_eq!(more.unwrap_err().kind(), std::io::ErrorKind::StorageFull);

    // What does not fit in the space that the database already has fails; until
    // then each answer is true.
    let mut refused = None;
    for _ in 0..2000 {
        match bench
            .service
            .store
            .rename(holder, &id, "The one in the kitchen")
        {
            Ok(()) => {}
            Err(e) => {
                refused = Some(e);
                break;
            }
        }
    }
    let is_full = |e: &Error| matches!(e, Error::Storage(f) if f.kind == FaultKind::Full);
    assert!(refused.as_ref().is_some_and(is_full), "{refused:?}");
    // Nobody is signed in, and nothing is ready, that could not be stored.
    let signed_in = bench.service.sign_in(holder, true, "Firefox", HOME);
    assert!(signed_in.as_ref().err().is_some_and(is_full));
    let ready = bench.service.store.healthy();
    assert!(ready.as_ref().err().is_some_and(is_full), "{ready:?}");
    match bench.service.remove(holder, &id, HOME) {
        Err(e) => assert!(is_full(&e) && e.to_string().contains("make room"), "{e}"),
        Ok(()) => panic!("removed, on a full disk"),
    }
    assert_eq!(phase(&bench.service, &id), before, "no false success");

    std::fs::remove_file(&filler).unwrap();
    bench.service.remove(holder, &id, HOME).unwrap();
    let after = phase(&bench.service, &id);
    assert_eq!(after.0, ActivationPhase::Removing, "it goes on with room");
    bench.restart();
    assert_eq!(phase(&bench.service, &id), after, "and it is on the disk");
}

#[test]
fn a_full_disk_under_the_revocation_log_alone_is_not_ready_and_removes_nothing() {
    if std::env::var_os(INSIDE).is_none() {
        if !run_again(
            "a_full_disk_under_the_revocation_log_alone_is_not_ready_and_removes_nothing",
            false,
        ) {
            skip("mount namespace", "the revocation log on a full disk");
        }
        return;
    }
    let small = PathBuf::from(std::env::var_os(INSIDE).unwrap());
    let mut bench = Bench::new();
    let holder = bench.account(0);
    let (first, second) = (
        an_activation(&bench, 0, "SMALL-DISK-1"),
        an_activation(&bench, 1, "SMALL-DISK-2"),
    );
    // The log on the small disk, the database on a large one.
    let log = bench.dir.path().join("revocations.log");
    std::fs::remove_file(&log).unwrap();
    symlink(small.join("revocations.log"), &log).unwrap();
    bench.restart();
    let filler = small.join("filler");
    fill(&filler);
    let is_full = |e: &Error| matches!(e, Error::Storage(f) if f.kind == FaultKind::Full);
    let ready = bench.service.store.healthy();
    assert!(ready.as_ref().err().is_some_and(is_full), "{ready:?}");
    let before = phase(&bench.service, &first);
    let removed = bench.service.remove(holder, &first, HOME);
    assert!(removed.as_ref().err().is_some_and(is_full), "{removed:?}");
    assert_eq!(phase(&bench.service, &first), before, "no false success");

    // What was ready stays so until the next removal, though the disk fills up.
    std::fs::remove_file(&filler).unwrap();
    bench.service.store.healthy().unwrap();
    fill(&filler);
    bench.service.remove(holder, &first, HOME).unwrap();
    assert_eq!(
        phase(&bench.service, &first).0,
        ActivationPhase::Removing,
        "there was room for it"
    );
    std::fs::remove_file(&filler).unwrap();
    bench
        .service
        .remove(bench.account(1), &second, HOME)
        .unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().filter(|l| !l.is_empty()).count(), 2, "{text}");
}
