//! What a stranger can do to the service, numbered as in `docs/THREATS.md`.

use nrd_sim_base::sample::{Sample, Samples};
use nrd_sim_service::account::CodeError;
use nrd_sim_service::ca::{self, LeafLife};
use nrd_sim_service::host::{Host, System};
use nrd_sim_service::login::{LoginError, Remembered};
use nrd_sim_service::store::{AccountId, restore_sqlite};
use nrd_sim_service::{Service, ServicePaths, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

const HOME: &str = "198.51.100.4";
const ELSEWHERE: &str = "203.0.113.9";
const DAY_S: u64 = 86_400;

/// A clock that stands still, so that no second passes but those of a test.
struct Still;

impl Host for Still {
    fn now_s(&self) -> u64 {
        1_800_000_000
    }
    fn fill(&self, out: &mut [u8]) -> nrd_sim_service::Result<()> {
        System.fill(out)
    }
}

struct Site {
    service: Arc<Service>,
    samples: Vec<Sample>,
    dir: TempDir,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let place = ServicePaths::folder(dir.path());
        let service = Service::open_with(&place, Settings::default(), Still).unwrap();
        let samples = Samples::read(None).unwrap();
        service.add_samples(&samples).unwrap();
        Site {
            service,
            samples: samples.accounts,
            dir,
        }
    }

    fn holder(&self) -> AccountId {
        let s = &self.samples[0];
        let known = self.service.check_password(&s.email, &s.password, HOME);
        known.unwrap()
    }

    /// A device shows this code.
    fn show(&self, code: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("service.db")).unwrap();
        let now = self.service.now_s();
        db.execute(
            "INSERT INTO devices (id, public_key, model, kind, agent_version, last_seen) \
             VALUES ('DEV-54', x'00', 'Box', 'set-top-box', '1', ?1)",
            [now as i64],
        )
        .unwrap();
        db.execute(
            "INSERT INTO activations (id, device, epoch, phase, code, pictogram, created, series) \
             VALUES (zeroblob(16), 'DEV-54', 1, 'pending', ?1, 0, ?2, zeroblob(16))",
            (code, now as i64),
        )
        .unwrap();
    }
}

#[test]
fn attack_54_ones_own_code_between_guesses_takes_nothing_from_their_count() {
    let site = Site::new();
    let holder = site.holder();
    site.show("CCCCCCCC");
    let mut tried = 0;
    for _ in 0..400 {
        match site
            .service
            .look_up_code_from(holder, "BBBBBBBB", Some(HOME))
        {
            Err(CodeError::Unknown) => tried += 1,
            Err(CodeError::Wait(1..)) => {}
            other => panic!("{other:?}"),
        }
        match site
            .service
            .look_up_code_from(holder, "CCCCCCCC", Some(HOME))
        {
            Ok(_) | Err(CodeError::Wait(1..)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(tried, 5, "guesses without a wait");
    // Who waits gets one guess, and waits for longer: an own code shortens nothing.
    for wait in [2, 4, 8, 16] {
        site.service.advance_s(wait);
        assert!(site.service.look_up_code(holder, "CCCCCCCC").is_ok());
        let guess = site.service.look_up_code(holder, "BBBBBBBB");
        assert!(matches!(guess, Err(CodeError::Unknown)), "{guess:?}");
        let next = site.service.look_up_code(holder, "BBBBBBBB");
        let Err(CodeError::Wait(s)) = next else {
            panic!("{next:?}");
        };
        assert_eq!(s, 2 * wait);
    }
    // Other accounts behind that address are counted together with it, generously.
    let other = &site.samples[1];
    let other = site
        .service
        .check_password(&other.email, &other.password, HOME);
    let theirs = site
        .service
        .look_up_code_from(other.unwrap(), "CCCCCCCC", Some(HOME));
    assert!(theirs.is_ok());
}

/// Runs `guess` a hundred times at once.
fn a_hundred_at_once(guess: impl Fn(usize) -> bool + Sync) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..100 {
            let (guess, passed) = (&guess, &passed);
            scope.spawn(move || passed.fetch_add(usize::from(guess(n)), Ordering::SeqCst));
        }
    });
    passed.into_inner()
}

#[test]
fn attack_54_a_hundred_guesses_at_once_count_like_a_hundred_in_a_row_at_two_processes() {
    let site = Site::new();
    let holder = site.holder();
    let place = ServicePaths::folder(site.dir.path());
    let other = Service::open_with(&place, Settings::default(), Still).unwrap();
    let services = [&site.service, &other];
    let email = &site.samples[0].email;
    let passwords = a_hundred_at_once(|n| {
        let tried = services[n % 2].check_password(email, "guess", ELSEWHERE);
        matches!(tried, Err(LoginError::Wrong))
    });
    assert!(passwords <= 5, "{passwords} passwords were tried");
    let codes = a_hundred_at_once(|n| {
        let tried = services[n % 2].look_up_code_from(holder, "BBBBBBBB", Some(ELSEWHERE));
        matches!(tried, Err(CodeError::Unknown))
    });
    assert_eq!(codes, 5);
}

#[test]
fn attack_54_a_guesser_locks_neither_the_owners_browser_nor_his_neighbours_out() {
    let site = Site::new();
    let (owner, neighbour) = (&site.samples[0], &site.samples[1]);
    let mark = site.service.mark_browser(&owner.email).unwrap();
    for _ in 0..20 {
        let guess = site.service.check_password(&owner.email, "guess", HOME);
        assert!(matches!(
            guess,
            Err(LoginError::Wrong | LoginError::Wait(1..))
        ));
    }
    let unknown = site
        .service
        .check_password(&owner.email, &owner.password, HOME);
    assert!(
        matches!(unknown, Err(LoginError::Wait(1..))),
        "the guesser is slowed"
    );
    let known = |password, mark: &str| {
        let service = &site.service;
        service.check_password_of(&owner.email, password, HOME, Some(mark))
    };
    assert!(known(&owner.password, &mark).is_ok(), "the owner's browser");
    let theirs = site
        .service
        .check_password(&neighbour.email, &neighbour.password, HOME);
    assert!(theirs.is_ok(), "somebody else behind that address");
    // A mark of another account, or an altered one, is none.
    let other = site.service.mark_browser(&neighbour.email).unwrap();
    let altered = mark.replace(|c: char| c.is_ascii_digit(), "e");
    for no_mark in [other.as_str(), &altered, "", "x"] {
        let tried = known(&owner.password, no_mark);
        assert!(matches!(tried, Err(LoginError::Wait(1..))), "{no_mark}");
    }
    // A stolen mark gets no more guesses than anybody.
    let guesses = (0..100).filter(|_| matches!(known("guess", &mark), Err(LoginError::Wrong)));
    assert_eq!(guesses.count(), 5);
}

#[test]
fn attack_54_the_addresses_of_one_home_are_one_address() {
    let site = Site::new();
    let tried = (0..400u32).filter(|n| {
        // An e-mail address each: only the address is counted.
        let (email, address) = (format!("p{n}@example.com"), format!("2001:db8:0:1::{n:x}"));
        let tried = site.service.check_password(&email, "guess", &address);
        matches!(tried, Err(LoginError::Wrong))
    });
    assert_eq!(tried.count(), 50);
    let next_door = site
        .service
        .check_password("q@example.com", "guess", "2001:db8:0:2::1");
    assert!(matches!(next_door, Err(LoginError::Wrong)));
}

#[test]
fn passwords_are_checked_one_a_core_and_the_rest_is_turned_away() {
    let site = Site::new();
    let service = &site.service;
    let turned_away = a_hundred_at_once(|n| {
        let (email, address) = (format!("p{n}@example.com"), format!("192.0.2.{n}"));
        matches!(
            service.check_password(&email, "guess", &address),
            Err(LoginError::Busy)
        )
    });
    println!("{turned_away} of 100 were turned away");
    let cores = std::thread::available_parallelism().unwrap().get();
    let most = service.most_hashes_at_once();
    assert!((1..=cores.min(10)).contains(&most), "{most} at once");
    // Whoever was turned away has not used up a try.
    for _ in 0..5 {
        let tried = service.check_password("p0@example.com", "guess", "192.0.2.200");
        assert!(!matches!(tried, Err(LoginError::Busy)));
    }
}

#[test]
fn attack_60_a_session_in_use_ends_after_twelve_hours_and_one_that_rests_after_half_an_hour() {
    let site = Site::new();
    let holder = site.holder();
    let sign_in = || {
        site.service
            .sign_in(holder, false, "Firefox", HOME)
            .unwrap()
    };
    let (used, resting) = (sign_in().session, sign_in().session);
    let mut minutes = 0;
    while site.service.session(&used, true).unwrap().is_some() {
        site.service.advance_s(20 * 60);
        minutes += 20;
        assert!(minutes < 24 * 60, "a session that never ends");
        assert_eq!(site.service.session_lasts(&resting).unwrap(), minutes <= 20);
    }
    assert_eq!(minutes, 12 * 60 + 20);
    assert!(!site.service.session_lasts(&used).unwrap());
    site.service.purge().unwrap();
    let db = rusqlite::Connection::open(site.dir.path().join("service.db")).unwrap();
    let left: u32 = db
        .query_row("SELECT count(*) FROM sessions", [], |r| r.get(0))
        .unwrap();
    assert_eq!(left, 0, "what has ended is deleted");
}

fn recalled(site: &Site, cookie: &str) -> Option<String> {
    match site.service.recall(cookie, HOME).unwrap() {
        Remembered::SignedIn(s) => Some(s.remember.expect("the cookie's next value")),
        Remembered::Stolen => panic!("an honest browser was taken for a thief"),
        Remembered::Unknown => None,
    }
}

#[test]
fn attack_60_a_cookie_for_90_days_ends_after_90_days_however_often_it_is_used() {
    let site = Site::new();
    let holder = site.holder();
    let signed_in = site.service.sign_in(holder, true, "Firefox", HOME).unwrap();
    let mut cookie = signed_in.remember.unwrap();
    let mut days = 0;
    while let Some(next) = recalled(&site, &cookie) {
        cookie = next;
        site.service.advance_s(DAY_S);
        days += 1;
        assert!(days < 3650, "a cookie that never ends");
    }
    assert_eq!(days, 91);
    assert!(site.service.store.computers(holder).unwrap().is_empty());
}

/// The answer that carries the next cookie gets lost, also twice, and the
/// computer is used again a week later.
#[test]
fn a_remembered_sign_in_survives_answers_that_get_lost() {
    let site = Site::new();
    let holder = site.holder();
    let signed_in = site.service.sign_in(holder, true, "Firefox", HOME).unwrap();
    let first = signed_in.remember.unwrap();
    let lost = recalled(&site, &first).unwrap();
    site.service.advance_s(7 * DAY_S);
    assert_eq!(recalled(&site, &first).unwrap(), lost, "the same successor");
    let next = recalled(&site, &lost).unwrap();
    assert_ne!(next, lost);
    // The successor was used: whoever comes with the first one has a copy.
    let copied = site.service.recall(&first, HOME).unwrap();
    assert!(matches!(copied, Remembered::Stolen));
    assert!(recalled(&site, &next).is_none(), "all of it is void");
}

/// Database, write-ahead log, revocation log, backup, and a database that came
/// back; made here, or found readable for others.
#[test]
fn attack_58_no_other_user_of_the_machine_reads_what_the_service_keeps() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    let dir = site.dir.path().to_owned();
    let backup = dir.join("copy.db");
    site.service.store.back_up(&backup).unwrap();
    let open_to_others = || {
        let files = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap());
        let modes = files.map(|f| (f.file_name(), f.metadata().unwrap().permissions().mode()));
        let open: Vec<_> = modes
            .filter(|(name, mode)| mode & 0o077 != 0 && !name.to_string_lossy().ends_with(".pub"))
            .collect();
        open
    };
    assert!(dir.join("service.db-wal").exists());
    assert_eq!(open_to_others(), []);
    let readable = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    };
    drop(site.service);
    for name in ["service.db", "revocations.log", "copy.db"] {
        readable(&dir.join(name));
    }
    restore_sqlite(&dir.join("service.db"), &backup).unwrap();
    // The copy, and what SQLite made beside it while it was read.
    for end in ["", "-wal", "-shm"] {
        let gone = std::fs::remove_file(format!("{}{end}", backup.display()));
        assert!(gone.is_ok() || !end.is_empty(), "{end}");
    }
    assert_eq!(open_to_others().len(), 1, "the log alone");
    drop(Service::open(&dir, Settings::default()).unwrap());
    assert_eq!(open_to_others(), []);
    // The key of the certificate authority is refused, like every key.
    let clock = Arc::new(|| 1_800_000_000);
    let config = || ca::server_config(&dir, clock.clone(), LeafLife::default());
    config().unwrap();
    readable(&dir.join("ca.key"));
    let refused = config().unwrap_err().to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
}

/// The database alone would take it: its file is open, wherever its folder went.
#[test]
fn a_service_that_could_note_no_removal_is_not_ready() {
    let site = Site::new();
    let dir = site.dir.path().to_owned();
    site.service.store.healthy().unwrap();
    let away = dir.with_extension("away");
    std::fs::rename(&dir, &away).unwrap();
    let failed = site.service.store.healthy();
    std::fs::rename(&away, &dir).unwrap();
    let failed = failed.unwrap_err().to_string();
    assert!(failed.contains("revocations.log"), "{failed}");
    site.service.store.healthy().unwrap();
}
