//! Grants whose storing is cut, receipts that prove something, losses.

use crate::common::{Bench, DAY_S, EMAIL, HOUR_S, ended};
use nrd_agent::lease::LeaseStatus;
use nrd_agent::wire::{
    self, ActivationId, EndReason, LockReason, MAX_FRAME, OrderKind, OrderResult, Request,
};
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

#[test]
fn a_lease_whose_token_cannot_be_stored_changes_nothing() {
    let mut b = Bench::active(16);
    b.pass(25 * HOUR_S, HOUR_S, false);
    let asks = |b: &mut Bench| {
        let lease = b.agent.status().lease;
        matches!(lease, Some(LeaseStatus::Open { renew: true, .. }))
    };
    assert!(asks(&mut b));
    b.port
        .vault
        .outage
        .set(Failure::NoWrites(nrd_hal::ErrorKind::OperationFailed));
    let generation = b.agent.status().generation;
    b.agent.try_again();
    b.exchange().unwrap_err();
    assert!(asks(&mut b), "the old lease is in force");
    assert_eq!(b.agent.status().generation, generation);
    b.boot_offline();
    b.serve();
    assert_eq!(b.state(), State::Active);
    assert!(!asks(&mut b));
}

/// What a failed step of forgetting leaves is what was there before.
#[test]
fn a_class_whose_new_key_cannot_be_stored_is_kept() {
    let mut b = Bench::active(7);
    b.port
        .slots
        .outage
        .set(Failure::NoWrites(nrd_hal::ErrorKind::OperationFailed));
    b.agent.forget(Class::Email).unwrap_err();
    for _ in 0..2 {
        let kept = b.agent.get(Class::Email, 1, &mut [0; 64]);
        assert_eq!(kept, Ok(EMAIL.len()));
        b.boot_offline();
    }
    b.agent.forget(Class::Email).unwrap();
    let gone = b.agent.get(Class::Email, 1, &mut [0; 64]);
    assert_eq!(gone, Err(nrd_agent::Error::NotFound));
}

/// Where nothing is remembered its key is in RAM: no flash is needed to destroy it.
#[test]
fn a_class_of_a_visit_is_forgotten_in_ram() {
    let mut b = Bench::new(7);
    b.work();
    b.service.remember = false;
    b.activate();
    b.agent.put(Class::Payment, 1, b"Visa 8861").unwrap();
    for outage in [&b.port.journal.outage, &b.port.slots.outage] {
        outage.set(Failure::NoWrites(nrd_hal::ErrorKind::OperationFailed));
    }
    b.agent.forget(Class::Email).unwrap();
    let gone = b.agent.get(Class::Email, 1, &mut [0; 64]);
    assert_eq!(gone, Err(nrd_agent::Error::NotFound));
    assert_eq!(b.agent.get(Class::Payment, 1, &mut [0; 64]), Ok(9));
}

/// Orders that meet an attempt: for the activation before it, and for its own.
#[test]
fn an_order_ends_what_it_names_and_no_sign_out_ends_an_attempt() {
    let anew = || {
        let mut b = Bench::active(44);
        b.agent.sign_out().unwrap();
        b.serve();
        let kinds = [OrderKind::SignOut, OrderKind::Deactivate];
        let before = (b.attempt, kinds.map(|kind| b.order(kind)));
        b.service.pending_polls = u32::MAX;
        b.agent.start_activation().unwrap();
        b.serve();
        let own = (b.attempt, kinds.map(|kind| b.order(kind)));
        assert_ne!(before.0, own.0);
        (b, before, own)
    };
    let applied = |b: &mut Bench, order: &[u8]| {
        let applied = b.agent.apply_order(order, &mut [0; 192]);
        applied.map(|(result, _)| result)
    };
    let (mut b, before, own) = anew();
    // It may be granted, and not stored yet: the order comes again.
    assert_eq!(applied(&mut b, &own.1[0]), Err(nrd_agent::Error::Busy));
    assert_eq!(applied(&mut b, &before.1[0]), Ok(OrderResult::Applied));
    assert!(b.agent.status().code.is_some(), "the attempt goes on");
    b.service.pending_polls = 0;
    b.pass(2, 1, true);
    assert_eq!(b.state(), State::Active);
    for n in [0, 1] {
        let (mut b, before, own) = anew();
        let (id, [_, deactivate]) = [before, own][n].clone();
        assert_eq!(applied(&mut b, &deactivate), Ok(OrderResult::Applied));
        b.work();
        b.serve();
        assert_eq!((b.state(), b.receipts()), (State::Clean, vec![id]));
    }
}

/// A journal with the room of three small sectors.
fn small_journal(seed: u64, write_size: u32) -> Bench {
    let geometry = nrd_hal::Geometry {
        size: 3 * 2048,
        write_size,
        erase_size: 2048,
        best_erase: 2048,
    };
    let mut b = Bench::on(seed, |builder| builder.journal(geometry));
    b.work();
    b
}

/// The receipt that gives way when the journal is full is the one that proves
/// nothing, then the oldest; what is kept is delivered in its order, and what was
/// dropped is counted.
#[test]
fn a_full_journal_keeps_the_newest_receipts() {
    for write_size in [4, 64, 128] {
        for wipes in 1..=9 {
            let mut b = small_journal(45, write_size);
            b.refuse = |ask| {
                let receipt = matches!(ask, wire::Ask::Receipt { .. });
                receipt.then_some(wire::RefusalCode::Unavailable)
            };
            // One that proves nothing.
            b.agent.deactivate().unwrap();
            b.work();
            let mut owed = Vec::new();
            for _ in 0..wipes {
                b.activate_within(300);
                owed.push(b.attempt);
                b.agent.deactivate().unwrap();
                b.work();
                assert_eq!(b.state(), State::Clean);
            }
            b.boot_offline();
            b.refuse = |_| None;
            let kept = usize::from(b.agent.status().receipts);
            b.agent.try_again();
            b.serve();
            let told = b.receipts();
            let cell = format!("{write_size} B, {wipes} wipes: {kept} kept, {told:?}");
            println!("{cell}");
            assert_eq!(told.len(), kept, "{cell}");
            let spare = told.contains(&ActivationId::default());
            let proving = kept - usize::from(spare);
            assert_eq!(told[..proving], owed[wipes - proving..], "{cell}");
            assert!(!spare || proving == wipes, "{cell}");
            assert_eq!(b.agent.status().receipts, 0, "{cell}");
            // The next receipt says how many are missing.
            b.agent.deactivate().unwrap();
            b.work();
            b.agent.try_again();
            b.serve();
            let last: wire::Receipt<'_> = wire::peek(b.service.receipts.last().unwrap()).unwrap();
            let missing = wipes + 1 - kept;
            assert_eq!(usize::from(last.flags.dropped), missing, "{cell}");
        }
    }
}

/// Whoever signs in after the session was lost gets a slot that begins anew, however
/// often the activation before forgot a class.
#[test]
fn a_grant_after_a_lost_session_begins_with_fresh_salts() {
    let generation = |b: &Bench, slot: usize| {
        let at = 64 + 20 * Class::Email as usize;
        b.port.slots.image()[slot][at..at + 4].to_vec()
    };
    let mut b = Bench::active(16);
    b.agent.forget(Class::Email).unwrap();
    assert_eq!(generation(&b, 1), [1, 0, 0, 0]);
    b.port.vault.edit(|cells| cells.fill(0xFF));
    b.boot_offline();
    assert_eq!(b.state(), State::Locked(LockReason::SessionLost));
    b.activate();
    assert_eq!(generation(&b, 0), [0, 0, 0, 0]);
}
