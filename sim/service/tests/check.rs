//! What `check` says of a service's folder, keys and database.

use nrd_sim_service::ServicePaths;
use nrd_sim_service::check::{Finding, Grade, check};
use nrd_sim_service::server::{Ports, start};
use nrd_sim_service::store::restore_sqlite;
use nrd_sim_service::{Service, Settings};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn look(dir: &Path, at: u64) -> Vec<Finding> {
    check(&ServicePaths::folder(dir), Some(dir), at)
}

/// A folder that a service has run in.
fn ran() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let service = Service::open(&dir, Settings::default()).unwrap();
    drop(start(service, &dir, Ports { tls: 0, pages: 0 }).unwrap());
    (home, dir)
}

fn not_good(found: &[Finding]) -> Vec<(&str, Grade)> {
    let bad = found.iter().filter(|f| f.grade != Grade::Good);
    bad.map(|f| (f.check.as_str(), f.grade)).collect()
}

#[test]
fn a_service_in_order_is_good_before_its_start_and_beside_it() {
    let (_home, dir) = ran();
    let before = fs::read_dir(&dir).unwrap().count();
    assert_eq!(not_good(&look(&dir, now())), []);
    assert_eq!(
        fs::read_dir(&dir).unwrap().count(),
        before,
        "it left something"
    );
    let _service = Service::open(&dir, Settings::default()).unwrap();
    assert_eq!(not_good(&look(&dir, now())), []);
}

#[test]
fn where_no_service_has_run_one_line_says_so_and_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    for dir in [home.path().join("none"), home.path().to_owned()] {
        let found = look(&dir, now());
        assert_eq!(not_good(&found), [("folder", Grade::Bad)]);
        assert_eq!(found.len(), 1, "nothing else is called good or bad");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    // One file of a service, and the rest is missing.
    fs::write(home.path().join("revocations.log"), "").unwrap();
    assert!(look(home.path(), now()).len() > 5);
}

#[test]
fn each_thing_that_is_wrong_is_named_with_what_to_do_and_nothing_else() {
    type Break = fn(&Path);
    let breaks: [(&str, Grade, Break); 13] = [
        ("service.key", Grade::Bad, |dir| {
            fs::set_permissions(dir.join("service.key"), Permissions::from_mode(0o644)).unwrap();
        }),
        ("maker.key", Grade::Bad, |dir| {
            fs::write(dir.join("maker.key"), "no key").unwrap()
        }),
        ("root.key", Grade::Bad, |dir| {
            fs::remove_file(dir.join("root.key")).unwrap()
        }),
        ("keys and database", Grade::Bad, |dir| {
            fs::write(dir.join("maker.key"), "5a".repeat(32)).unwrap();
        }),
        ("certificate authority", Grade::Bad, |dir| {
            let other = tempfile::tempdir().unwrap();
            let service = Service::open(other.path(), Settings::default()).unwrap();
            drop(start(service, other.path(), Ports { tls: 0, pages: 0 }).unwrap());
            fs::copy(other.path().join("ca.pem"), dir.join("ca.pem")).unwrap();
        }),
        ("file modes", Grade::Mend, |dir| {
            fs::set_permissions(dir.join("service.db"), Permissions::from_mode(0o644)).unwrap();
        }),
        ("folder", Grade::Mend, |dir| {
            fs::set_permissions(dir, Permissions::from_mode(0o777)).unwrap();
        }),
        ("revocation log", Grade::Mend, |dir| {
            fs::write(dir.join("revocations.log"), "no line\n").unwrap();
            fs::set_permissions(dir.join("revocations.log"), Permissions::from_mode(0o600))
                .unwrap();
        }),
        ("revocation log", Grade::Mend, |dir| {
            fs::remove_file(dir.join("revocations.log")).unwrap();
        }),
        ("database", Grade::Bad, |dir| {
            fs::write(dir.join("service.db"), [0x55; 8192]).unwrap();
        }),
        ("schema", Grade::Bad, |dir| {
            let db = rusqlite::Connection::open(dir.join("service.db")).unwrap();
            db.execute_batch("UPDATE meta SET value = 99 WHERE key = 'schema'")
                .unwrap();
        }),
        ("delegation", Grade::Bad, |dir| {
            let db = rusqlite::Connection::open(dir.join("service.db")).unwrap();
            db.execute_batch("UPDATE delegations SET frame = x'00'")
                .unwrap();
        }),
        ("restored database", Grade::Bad, |dir| {
            let db = rusqlite::Connection::open(dir.join("service.db")).unwrap();
            db.execute_batch("UPDATE revocation_logs SET missing = 1")
                .unwrap();
        }),
    ];
    for (name, grade, break_it) in breaks {
        let (_home, dir) = ran();
        break_it(&dir);
        let found = look(&dir, now());
        let wrong = not_good(&found);
        let of_it = match name {
            // Both doors of the one folder.
            "folder" => vec![("folder", grade), ("folder of keys", grade)],
            _ => vec![(name, grade)],
        };
        assert_eq!(wrong, of_it, "{name}: {found:#?}");
        let finding = found.iter().find(|f| f.check == name).unwrap();
        assert!(!finding.mend.is_empty() && !finding.says.is_empty());
    }
}

#[test]
fn a_clock_that_cannot_be_is_named() {
    let (_home, dir) = ran();
    let clock = |at| {
        let found = look(&dir, at);
        found.into_iter().find(|f| f.check == "clock").unwrap()
    };
    assert_eq!(clock(0).grade, Grade::Bad);
    // An hour before what was signed last.
    let early = clock(now() - 3600);
    assert!(
        early.grade == Grade::Bad && early.says.contains("signed last"),
        "{early:?}"
    );
    assert_eq!(clock(now() + 3600).grade, Grade::Good);
    // Eleven years on the root certificate has ended.
    let late = look(&dir, now() + 11 * 365 * 86_400);
    assert_eq!(not_good(&late), [("certificate authority", Grade::Bad)]);
    let late = look(&dir, now() + 9 * 365 * 86_400 + 86_400);
    assert_eq!(not_good(&late), [("certificate authority", Grade::Mend)]);
}

#[test]
fn a_copy_comes_back_over_a_database_whose_first_pages_are_destroyed() {
    use nrd_sim_service::store::Replaced;
    use std::io::{Seek as _, Write as _};
    let (home, dir) = ran();
    let (db, copy) = (dir.join("service.db"), home.path().join("copy.db"));
    let service = Service::open(&dir, Settings::default()).unwrap();
    service.store.back_up(&copy).unwrap();
    // Not while a service runs, whatever is left of its database.
    let refused = restore_sqlite(&db, &copy).unwrap_err();
    assert!(refused.contains("stop it first"), "{refused}");
    let ruin = || {
        let mut file = fs::OpenOptions::new().write(true).open(&db).unwrap();
        file.rewind().unwrap();
        file.write_all(&[0xA5; 3 * 4096]).unwrap();
    };
    ruin();
    let refused = restore_sqlite(&db, &copy).unwrap_err();
    assert!(refused.contains("stop it first"), "{refused}");
    drop(service);
    ruin();
    assert!(Service::open(&dir, Settings::default()).is_err());
    assert_eq!(restore_sqlite(&db, &copy), Ok(Replaced::Damaged));
    let ruins = fs::read(dir.join("service.db.damaged")).unwrap();
    assert!(ruins.starts_with(&[0xA5; 4096]));
    assert_eq!(not_good(&look(&dir, now())), []);
    assert_eq!(restore_sqlite(&db, &copy), Ok(Replaced::Database));
    fs::remove_file(&db).unwrap();
    assert_eq!(restore_sqlite(&db, &copy), Ok(Replaced::Nothing));
    // A service does not start into a restore.
    let lock = fs::File::open(dir.join("service.lock")).unwrap();
    lock.lock().unwrap();
    let refused = Service::open(&dir, Settings::default()).err().unwrap();
    assert!(
        refused.to_string().contains("being brought back"),
        "{refused}"
    );
    let refused = restore_sqlite(&db, &copy).unwrap_err();
    assert!(refused.contains("in use"), "{refused}");
    drop(lock);
    // A ruin is no copy.
    let refused = restore_sqlite(&db, &dir.join("service.db.damaged")).unwrap_err();
    assert!(refused.contains("no copy that `backup` made"), "{refused}");
    drop(Service::open(&dir, Settings::default()).unwrap());
}
