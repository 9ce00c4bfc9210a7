//! Grants whose storing is cut, receipts that prove something, losses.

use crate::common::{Bench, DAY_S, EMAIL, HOUR_S, ended};
use nrd_agent::wire::{self, ActivationId, EndReason, LockReason, MAX_FRAME, OrderKind, Request};
use nrd_agent::{Class, State};
use nrd_agent_testkit::Failure;

/// A device whose power was cut at operation `cut` of storing a grant; `None` when
/// there are not so many.
fn cut_while_storing(cut: u64) -> Option<Bench> {
    let mut b = Bench::granted(44);
    b.port.power.cut_after(cut);
    b.work();
    if !b.port.power.is_off() {
        return None;
    }
    b.boot_offline();
    Some(b)
}

/// Found: a power cut while a grant was stored, and then a removal, or a day off,
/// left a `Clean` device with 185 bytes in its vault, without a receipt.
#[test]
fn attack_44_a_grant_cut_while_it_is_stored_ends_in_a_wipe_with_a_receipt() {
    let ends: [fn(&mut Bench); 4] = [
        // The person removes the device on the page.
        |b| {
            let order = b.order(OrderKind::Deactivate);
            b.serve_hello();
            b.agent.apply_order(&order, &mut [0; 192]).unwrap();
        },
        // The attempt is over on the service, after a day.
        |b| b.service.end_activation = Some(EndReason::Expired),
        // The person at the device gives it up.
        |b| b.agent.cancel_activation().unwrap(),
        // The person at the device deactivates it.
        |b| b.agent.deactivate().unwrap(),
    ];
    let (mut cuts, mut wipes) = (0, 0);
    while let Some(mut b) = cut_while_storing(cuts) {
        let stored = !b.is_blank();
        let active = b.state() == State::Active;
        assert!(active || b.state() == State::Activating, "{:?}", b.state());
        for (n, end) in ends.iter().enumerate() {
            if n > 0 {
                b = cut_while_storing(cuts).expect("as before");
            }
            if active && (n == 1 || n == 2) {
                continue;
            }
            end(&mut b);
            // At every step: `Clean` is said over blank cells only.
            while b.agent.poll_work() == nrd_agent::Next::Again {
                assert!(b.state() != State::Clean || b.is_blank());
            }
            b.serve();
            let cell = format!("cut {cuts}, end {n}");
            assert_eq!(b.state(), State::Clean, "{cell}");
            assert!(b.is_blank(), "{cell}");
            if stored {
                assert_eq!(b.receipts(), [b.attempt], "{cell}");
                wipes += 1;
            }
        }
        cuts += 1;
    }
    println!("{cuts} cuts, {wipes} wipes of what was stored");
    assert!(cuts >= 5 && wipes >= 8);
}

/// The same without an end: the attempt goes on, and is stored in the end.
#[test]
fn attack_44_a_grant_cut_while_it_is_stored_is_stored_at_the_next_contact() {
    let mut cuts = 0;
    while let Some(mut b) = cut_while_storing(cuts) {
        b.serve();
        assert_eq!(b.state(), State::Active, "cut {cuts}");
        let mut name = [0; 64];
        let n = b.agent.display_name(&mut name).unwrap();
        assert_eq!(&name[..n], b"Alexandra", "cut {cuts}");
        b.boot_offline();
        assert_eq!(b.state(), State::Active, "cut {cuts}");
        cuts += 1;
    }
}

/// Found: "activate, cancel" pressed four times without a network, and the seller's
/// undelivered receipt was gone.
#[test]
fn attack_45_activate_and_cancel_evict_no_sellers_receipt() {
    // Up to as many sellers as receipts are kept for.
    for sellers in 1..=4usize {
        let mut b = Bench::new(45);
        b.work();
        let mut owed = Vec::new();
        b.refuse = |ask| {
            let receipt = matches!(ask, wire::Ask::Receipt { .. });
            receipt.then_some(wire::RefusalCode::Unavailable)
        };
        for _ in 0..sellers {
            b.activate_within(300);
            owed.push(b.attempt);
            b.agent.deactivate().unwrap();
            b.work();
        }
        for press in 0..40 {
            b.agent.start_activation().unwrap();
            b.work();
            b.agent.cancel_activation().unwrap();
            b.work();
            if press % 5 == 0 {
                b.boot_offline();
            }
            assert_eq!(b.state(), State::Clean);
            // And wiped by hand, which proves nothing to an account.
            b.agent.deactivate().unwrap();
            b.work();
        }
        b.refuse = |_| None;
        b.agent.try_again();
        b.serve();
        let told: Vec<ActivationId> = b.receipts();
        let proving: Vec<_> = told
            .into_iter()
            .filter(|id| *id != ActivationId::default())
            .collect();
        assert_eq!(proving, owed, "{sellers} sellers");
    }
}

/// Found (FINDINGS D16): one flipped bit in the session record, and the screen said
/// "active" for 30 days and then "connect it", though it was connected.
#[test]
fn a_session_that_cannot_be_read_is_said_at_boot_and_costs_a_sign_in() {
    let whole = Bench::active(16);
    let image = whole.port.vault.image();
    let programmed: Vec<usize> = (0..image.len()).filter(|&at| image[at] != 0xFF).collect();
    let mut lost = 0;
    for at in programmed.into_iter().step_by(5) {
        let mut b = Bench::active(16);
        b.port.vault.edit(|cells| cells[at] ^= 1);
        b.boot_offline();
        match b.state() {
            State::Active => {
                assert!(b.agent.status().losses.is_empty());
                b.serve();
                assert_eq!((b.state(), b.service.suspected), (State::Active, 0));
            }
            State::Locked(LockReason::SessionLost) => {
                lost += 1;
                assert!(b.agent.status().losses.session);
                // Said to the service with the first request.
                let mut request = [0; MAX_FRAME];
                let n = b.agent.poll_request(&mut request).unwrap().expect("due");
                let said: Request<'_> = wire::peek(&request[..n]).unwrap();
                assert!(said.losses.session);
                b.agent.exchange_failed();
                // The way out is a sign-in, and no wipe.
                b.activate();
                assert!(b.agent.status().losses.is_empty());
                assert_eq!(b.receipts(), []);
                b.pass(40 * DAY_S, HOUR_S, true);
                assert_eq!(b.state(), State::Active);
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    println!("the session was lost {lost} times");
    assert!(lost > 5);
}

/// The delegation is read at its first use: with the first request.
#[test]
fn a_delegation_that_cannot_be_read_is_said_and_sent_again() {
    let image = Bench::active(17).port.journal.image();
    let programmed: Vec<usize> = (0..image.len()).filter(|&at| image[at] != 0xFF).collect();
    let mut lost = 0;
    for at in programmed.into_iter().step_by(3) {
        let mut b = Bench::active(17);
        b.port.journal.edit(|cells| cells[at] ^= 1);
        b.boot_offline();
        b.agent.try_again();
        let mut request = [0; MAX_FRAME];
        let Ok(Some(n)) = b.agent.poll_request(&mut request) else {
            continue;
        };
        let said: Request<'_> = wire::peek(&request[..n]).unwrap();
        assert_eq!(said.losses, b.agent.status().losses, "byte {at}");
        if b.state() == State::Active && said.losses.delegation {
            lost += 1;
            b.agent.exchange_failed();
            b.pass(HOUR_S, 1, true);
            assert!(b.agent.status().losses.is_empty(), "byte {at}");
            let order = b.order(OrderKind::Deactivate);
            b.agent.apply_order(&order, &mut [0; 192]).unwrap();
            assert_eq!(b.state(), State::Wiping, "byte {at}");
        }
    }
    println!("the delegation was lost {lost} times");
    assert!(lost > 5);
}

/// Found (FINDINGS D15): one flipped bit in a kept receipt, and the next owner's
/// activation answered `Corrupt` for ever.
#[test]
fn a_receipt_that_cannot_be_read_stops_no_next_owner() {
    let sold = || {
        let mut b = Bench::active(15);
        b.agent.deactivate().unwrap();
        b.work();
        b
    };
    let image = sold().port.journal.image();
    let programmed: Vec<usize> = (0..image.len()).filter(|&at| image[at] != 0xFF).collect();
    let (mut lost, mut closed) = (0, 0);
    for at in programmed.into_iter().step_by(3) {
        let mut b = sold();
        b.port.journal.edit(|cells| cells[at] ^= 1);
        b.boot_offline();
        if b.state() != State::Clean {
            assert_eq!(
                b.state(),
                State::Locked(LockReason::JournalLost),
                "byte {at}"
            );
            closed += 1;
            b.agent.deactivate().unwrap();
            b.work();
        }
        b.activate_within(300);
        assert_eq!(b.agent.get(Class::Email, 1, &mut [0; 64]), Ok(EMAIL.len()));
        let kept = b
            .service
            .receipts
            .iter()
            .any(|r| ended(r) != ActivationId::default());
        if !kept {
            lost += 1;
            // Dropped and counted: it is not tried for ever.
            assert_eq!(b.agent.status().receipts, 0, "byte {at}");
            // The service has been told: the loss is over.
            assert!(b.agent.status().losses.is_empty(), "byte {at}");
        }
    }
    println!("receipts lost: {lost}; journal lost: {closed}");
    assert!(lost > 20);
}

/// What each step of pending work says, until there is none.
fn steps(b: &mut Bench) -> Vec<Result<nrd_agent::Step, nrd_agent::Error>> {
    let steps = std::iter::repeat_with(|| b.agent.step());
    steps
        .take(500)
        .take_while(|step| *step != Ok(nrd_agent::Step::Idle))
        .collect()
}

#[test]
fn a_step_says_what_failed_though_the_job_is_over() {
    let mut b = Bench::granted(44);
    b.port.vault.outage.set(Failure::Silent);
    assert!(steps(&mut b).contains(&Err(nrd_agent::Error::Hardware)));
    assert_eq!(b.state(), State::Activating);
}

/// A part that a wipe gives up is in its receipt: nothing waits for it.
#[test]
fn no_step_of_a_wipe_that_goes_on_is_an_error() {
    let mut b = Bench::active(44);
    b.port.counter.outage.set(Failure::Silent);
    b.agent.deactivate().unwrap();
    let steps = steps(&mut b);
    assert!(
        steps.len() > 8 && steps.iter().all(Result::is_ok),
        "{steps:?}"
    );
    assert_ne!(b.state(), State::Wiping);
}

#[test]
fn a_wipe_whose_tombstone_failed_ends_once_the_journal_takes_writes() {
    let mut b = Bench::active(44);
    b.port
        .journal
        .outage
        .set(Failure::NoWrites(nrd_hal::ErrorKind::OperationFailed));
    b.agent.deactivate().unwrap();
    b.end_outages();
    steps(&mut b);
    assert_eq!(b.state(), State::Clean);
}
