//! Codes, passwords and cookies that are guessed or copied; devices of others.

use nrd_sim::device::{exchange, talk};
use nrd_sim::service::Error;
use nrd_sim::service::account::CodeError;
use nrd_sim::service::events::EventKind;
use nrd_sim::service::login::{LoginError, Remembered};
use nrd_sim::service::store::ActivationPhase;
use nrd_tests::bench::{Bench, HOME, activate};

#[test]
fn attack_23_codes_cannot_be_guessed_and_expire() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-23", 23);
    let code = tv.boot(|service, agent| {
        agent.start_activation().unwrap();
        exchange(service, agent).unwrap();
        exchange(service, agent).unwrap();
        agent.status().code.unwrap().0
    });
    // However it is typed.
    let spaced = format!(" {}-{} ", &code[..4].to_lowercase(), &code[4..]);
    assert!(bench.service.look_up_code(holder, &spaced).is_ok());
    for _ in 0..5 {
        let wrong = bench.service.look_up_code(holder, "BBBBBBBB");
        assert!(matches!(wrong, Err(CodeError::Unknown)));
    }
    let locked = bench.service.look_up_code(holder, &code);
    assert!(matches!(locked, Err(CodeError::Wait(1..))));
    bench.service.advance_s(601);
    let expired = bench.service.look_up_code(holder, &code);
    assert!(matches!(expired, Err(CodeError::Unknown)));
    tv.boot(|service, agent| {
        // The next boot asks again and gets another code.
        talk(service, agent).unwrap_err();
        assert_ne!(agent.status().code.unwrap().0, code);
    });
}

#[test]
fn attack_24_password_guessing_is_slowed_and_says_nothing() {
    let bench = Bench::new();
    let email = bench.samples[0].email.clone();
    let good = bench.samples[0].password.clone();
    for _ in 0..5 {
        let wrong = bench.service.check_password(&email, "guess", HOME);
        assert!(matches!(wrong, Err(LoginError::Wrong)));
    }
    let slowed = bench.service.check_password(&email, &good, "203.0.113.9");
    assert!(matches!(slowed, Err(LoginError::Wait(1..))));
    let unknown = bench
        .service
        .check_password("nobody@example.com", "x", HOME);
    assert!(matches!(unknown, Err(LoginError::Wrong)));
    bench.service.advance_s(60);
    assert!(bench.service.check_password(&email, &good, HOME).is_ok());
}

#[test]
fn a_copied_remember_me_cookie_is_noticed_and_everything_of_it_is_void() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let first = bench
        .service
        .sign_in(holder, true, "Firefox", HOME)
        .unwrap();
    let cookie = first.remember.unwrap();
    let Remembered::SignedIn(second) = bench.service.recall(&cookie, HOME).unwrap() else {
        panic!("a good cookie was refused");
    };
    let next = second.remember.clone().expect("a new value");
    // At once again: an answer was lost. Later: theft.
    assert!(matches!(
        bench.service.recall(&cookie, HOME).unwrap(),
        Remembered::SignedIn(_)
    ));
    // Its successor is used, and then it comes once more: a copy exists.
    let Remembered::SignedIn(third) = bench.service.recall(&next, HOME).unwrap() else {
        panic!("the successor was refused");
    };
    let next = third.remember.expect("a new value");
    assert!(matches!(
        bench.service.recall(&cookie, HOME).unwrap(),
        Remembered::Stolen
    ));
    assert!(matches!(
        bench.service.recall(&next, HOME).unwrap(),
        Remembered::Unknown
    ));
    assert!(
        bench
            .service
            .session(&second.session, true)
            .unwrap()
            .is_none()
    );
    let events = bench.service.events(holder, 5).unwrap();
    assert!(events.iter().any(|e| e.kind == EventKind::ComputerStolen));
}

#[test]
fn nobody_removes_or_sees_what_is_not_theirs() {
    let bench = Bench::new();
    let (holder, other) = (bench.account(0), bench.account(1));
    let mut tv = bench.device("NRD-STB-IDOR", 40);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let id = bench.newest(0).id;
    let s = &bench.service;
    assert!(matches!(s.remove(other, &id, HOME), Err(Error::NotFound)));
    assert!(matches!(
        s.order_sign_out(other, &id, HOME),
        Err(Error::NotFound)
    ));
    assert!(matches!(
        s.store.rename(other, &id, "x"),
        Err(Error::NotFound)
    ));
    assert!(matches!(s.store.receipt(other, &id), Err(Error::NotFound)));
    assert!(s.devices(other).unwrap().is_empty());
    assert_eq!(bench.newest(0).phase, ActivationPhase::Active);
}
