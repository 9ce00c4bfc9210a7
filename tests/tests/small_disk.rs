//! A service on a disk that is really full: this test runs itself again in a
//! mount namespace of its own, on a file system of two MiB.

use nrd_sim::service::store::{ActivationPhase, FaultKind};
use nrd_sim::service::{Error, Service};
use nrd_tests::bench::{Bench, HOME, activate};
use nrd_tests::external_tools::skip;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// Set in the process that runs on the small disk.
const INSIDE: &str = "NRD_SMALL_DISK";
/// `unshare` for root, and for others where the kernel lets them.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Runs the test of this name again, on a small disk that is its folder for
/// temporary files; false where no such disk can be had.
fn run_again(test: &str) -> bool {
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
    let ran = unshare(flags, "exec \"$@\"")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env("TMPDIR", folder.path())
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

/// An active device of the first account.
fn an_activation(bench: &Bench, name: &'static str) -> [u8; 16] {
    let holder = bench.account(0);
    let mut device = bench.device(name, 1);
    device.boot(|service, agent| activate(service, agent, holder, true));
    bench.newest(0).id
}

fn phase(service: &Service, id: &[u8; 16]) -> (ActivationPhase, usize) {
    let row = service.store.activation(id).unwrap().unwrap();
    (row.phase, service.store.orders(id).unwrap().len())
}

#[test]
fn a_full_disk_under_sqlite_is_said_and_removes_nothing_falsely() {
    if std::env::var_os(INSIDE).is_none() {
        if !run_again("a_full_disk_under_sqlite_is_said_and_removes_nothing_falsely") {
            skip("mount namespace", "SQLite on a full disk");
        }
        return;
    }
    let mut bench = Bench::new();
    let holder = bench.account(0);
    let id = an_activation(&bench, "SMALL-DISK");
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
