//! What the doubles promise to the tests that use them.

use nrd_agent::wire::{self, EndReason, LockReason, OrderKind, OrderOutcome, OrderResult};
use nrd_agent::{Agent, Class, Error, State};
use nrd_agent_testkit::{RamFlash, StubService, TestMemory, TestPlatform};
use nrd_hal::rand_core::TryRng;
use nrd_hal::{Clock, Epoch, ErrorKind, Geometry, MonotonicCounter, Region, conformance};
use std::hash::{DefaultHasher, Hasher};

/// One boot: brings the agent to rest, then runs `then` on it.
fn boot<T>(
    device: &TestPlatform,
    service: &mut StubService,
    then: impl FnOnce(&mut StubService, &mut Agent<'_, TestPlatform>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut memory = TestMemory::default();
    let agent = Agent::new(device.clone(), service.config(), memory.lend());
    let mut agent = agent.expect("the geometry was checked");
    service.serve(&mut agent)?;
    then(service, &mut agent)
}

fn activated(service: &mut StubService) -> TestPlatform {
    let device = TestPlatform::builder().build(service);
    boot(&device, service, |service, agent| {
        agent.start_activation()?;
        service.serve(agent)?;
        assert_eq!(agent.state(), State::Active);
        Ok(())
    })
    .unwrap();
    device
}

#[test]
fn a_device_in_ram_passes_the_conformance_suite_in_every_size() {
    let service = StubService::new(1);
    for (write_size, erase_size, blocks) in
        [(1, 4096, 4), (4, 2048, 8), (32, 1024, 12), (256, 65536, 3)]
    {
        let geometry = Geometry {
            size: erase_size * blocks,
            write_size,
            erase_size,
            best_erase: erase_size,
        };
        for write_once in [false, true] {
            let builder = TestPlatform::builder().journal(geometry).vault(geometry);
            let builder = if write_once {
                builder.write_once()
            } else {
                builder
            };
            let mut device = builder.wall_s(1_800_000_000).build(&service);
            assert_eq!(conformance::platform(&mut device), Ok(()), "{geometry:?}");
            let before = conformance::before_power_cycle(&mut device).unwrap();
            device.reboot();
            let after = conformance::after_power_cycle(&mut device, &before);
            assert_eq!(after, Ok(()), "{geometry:?}");
        }
    }
}

#[test]
fn flash_that_is_written_once_refuses_to_clear_further_bits() {
    let mut flash = RamFlash::sized(4, 1024, 2).write_once();
    flash.program(0, &[0x0F; 4]).unwrap();
    assert_eq!(flash.program(0, &[0; 4]), Err(ErrorKind::OperationFailed));
    assert_eq!(flash.image()[..4], [0x0F; 4]);
    flash.erase(0, 1024).unwrap();
    assert_eq!(flash.program(0, &[0; 4]), Ok(()));
}

#[test]
fn a_failed_operation_changes_nothing_and_the_next_one_works() {
    let device = TestPlatform::builder().build(&StubService::new(1));
    let mut flash = device.vault.clone();
    device.power.fail_after(1, ErrorKind::OperationFailed);
    assert_eq!(flash.program(0, &[1]), Ok(()));
    assert_eq!(flash.program(1, &[2]), Err(ErrorKind::OperationFailed));
    assert_eq!(flash.program(2, &[3]), Ok(()));
    assert_eq!(flash.image()[..4], [1, 0xFF, 3, 0xFF]);
}

#[test]
fn a_step_of_the_counter_that_is_cut_is_not_taken() {
    let device = TestPlatform::builder().build(&StubService::new(1));
    let mut counter = device.counter.clone();
    device.power.cut_after(1);
    assert_eq!(counter.increment(), Ok(()));
    assert_eq!(counter.increment(), Err(ErrorKind::Unavailable));
    device.reboot();
    assert_eq!(counter.read(), Ok(Epoch(1)));
}

#[test]
fn a_reboot_restarts_uptime_and_forgets_what_was_planned() {
    let device = TestPlatform::builder().build(&StubService::new(1));
    device.power.cut_after(0);
    device.clock.advance_s(5);
    device.reboot();
    assert_eq!(device.vault.clone().program(0, &[0]), Ok(()));
    assert_eq!(device.clock.clone().uptime_ms(), 0);
}

#[test]
fn random_numbers_go_on_over_a_reboot() {
    let device = TestPlatform::builder().build(&StubService::new(1));
    let mut draws = [(); 3].map(|()| device.rng.clone().try_next_u64().unwrap());
    draws.sort_unstable();
    assert!(draws.windows(2).all(|w| w[0] != w[1]), "{draws:?}");
}

#[test]
fn serving_an_agent_whose_journal_fails_tells_the_fault() {
    let mut service = StubService::new(1);
    service.check_in_interval_s = 24 * 3600;
    let device = TestPlatform::builder().build(&service);
    let told = boot(&device, &mut service, |service, agent| {
        agent.start_activation()?;
        service.serve(agent)?;
        // An hour of powered time is to be charged to the journal.
        device.clock.advance_s(3600);
        device.power.cut_after(0);
        service.serve(agent)
    });
    assert_eq!(told, Err(Error::Hardware), "the journal does not answer");
    device.reboot();
    let next = boot(&device, &mut service, |service, agent| {
        assert_eq!(agent.state(), State::Active);
        service.serve(agent)
    });
    assert!(next.unwrap().is_some_and(|uptime_ms| uptime_ms > 0));
}

/// Activates, stores a value, deactivates and delivers the receipt; goes on
/// from whatever an earlier, cut call has reached.
fn live(device: &TestPlatform, service: &mut StubService) -> Result<(), Error> {
    boot(device, service, |service, agent| {
        for _ in 0..10 {
            // Nothing may happen after a cut, whatever the agent made of it.
            if device.power.is_off() {
                return Err(Error::Hardware);
            }
            if !service.receipts.is_empty() {
                assert_eq!(agent.state(), State::Clean);
                return Ok(());
            }
            match agent.state() {
                State::Clean => agent.start_activation()?,
                State::Active => {
                    agent.put(Class::Email, 1, b"alex@example.org")?;
                    agent.deactivate()?;
                }
                _ => {}
            }
            service.serve(agent)?;
        }
        panic!("the device stays {:?}", agent.state());
    })
}

#[test]
fn a_life_cut_at_any_operation_ends_clean_after_the_next_boot() {
    let mut service = StubService::new(1);
    let device = TestPlatform::builder().build(&service);
    live(&device, &mut service).unwrap();
    let operations = device.power.operations();
    assert!(operations > 30, "{operations}");
    for n in 0..operations {
        let mut service = StubService::new(1);
        let device = TestPlatform::builder().build(&service);
        device.power.cut_after(n);
        assert!(live(&device, &mut service).is_err(), "cut {n} was not felt");
        assert!(device.power.is_off(), "cut {n}");
        device.reboot();
        live(&device, &mut service).unwrap_or_else(|e| panic!("after cut {n}: {e}"));
        assert!(device.vault.image().iter().all(|&b| b == 0xFF), "cut {n}");
        assert_eq!(device.slots.image(), [[0xFF; 256]; 2], "cut {n}");
    }
}

#[test]
fn an_order_is_handed_out_until_its_outcome_comes_back() {
    let mut service = StubService::new(1);
    assert!(
        !service.send_order(OrderKind::SignOut),
        "nothing is granted"
    );
    let device = activated(&mut service);
    assert!(service.send_order(OrderKind::SignOut));
    device.reboot();
    boot(&device, &mut service, |service, agent| {
        assert_eq!(agent.state(), State::SignedOut);
        assert_eq!(service.pending, None);
        let outcome: OrderOutcome = wire::peek(&service.outcomes[0])?;
        assert_eq!(outcome.result, OrderResult::Applied);
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_activation_that_is_denied_leaves_the_device_clean() {
    let mut service = StubService::new(1);
    let device = TestPlatform::builder().build(&service);
    boot(&device, &mut service, |service, agent| {
        agent.start_activation()?;
        service.pending_polls = 2;
        service.end_activation = Some(EndReason::Denied);
        service.serve(agent)?;
        assert_eq!(agent.state(), State::Clean);
        assert_eq!(service.pending_polls, 2, "it ended at the first poll");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_poll_is_answered_not_yet_as_often_as_asked() {
    let mut service = StubService::new(1);
    service.pending_polls = 2;
    let device = TestPlatform::builder().build(&service);
    boot(&device, &mut service, |service, agent| {
        agent.start_activation()?;
        for second in 0..2 {
            service.serve(agent)?;
            assert_eq!(agent.state(), State::Activating, "second {second}");
            device.clock.advance_s(1);
        }
        service.serve(agent)?;
        assert_eq!(agent.state(), State::Active);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_statement_closes_access_until_it_is_taken_back() {
    let mut service = StubService::new(1);
    let device = activated(&mut service);
    for statement in [Some(LockReason::TheftSuspected), None] {
        service.statement = statement;
        device.reboot();
        boot(&device, &mut service, |_, agent| {
            let state = statement.map_or(State::Active, State::Locked);
            assert_eq!(agent.state(), state);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_copy_of_the_device_that_comes_too_late_is_suspected() {
    let mut service = StubService::new(1);
    let device = activated(&mut service);
    let (journal, vault) = (device.journal.image(), device.vault.image());
    // A day later the token is renewed, and used; then the old image comes back.
    device.clock.advance_s(24 * 3600);
    for _ in 0..2 {
        boot(&device, &mut service, |_, _| Ok(())).unwrap();
    }
    assert_eq!(service.suspected, 0);
    device.journal.edit(|cells| cells.copy_from_slice(&journal));
    device.vault.edit(|cells| cells.copy_from_slice(&vault));
    device.reboot();
    boot(&device, &mut service, |_, _| Ok(())).unwrap();
    assert_eq!(service.suspected, 1);
}

#[test]
fn a_visit_that_is_not_remembered_ends_with_the_power() {
    let mut service = StubService::new(1);
    service.remember = false;
    let device = activated(&mut service);
    device.reboot();
    boot(&device, &mut service, |_, agent| {
        assert_eq!(agent.state(), State::Clean);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_counter_without_steps_ends_the_devices_life_as_an_account_holders() {
    let mut service = StubService::new(1);
    let device = TestPlatform::builder().counter_steps(0).build(&service);
    boot(&device, &mut service, |service, agent| {
        agent.deactivate()?;
        service.serve(agent)?;
        assert_eq!(agent.start_activation(), Err(Error::WornOut));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_copy_of_the_service_goes_on_by_itself() {
    let hash = |service: &StubService| {
        let mut h = DefaultHasher::new();
        service.hash_into(&mut h);
        h.finish()
    };
    let mut service = StubService::new(1);
    let copy = service.clone();
    activated(&mut service);
    assert_eq!(copy.receipts.len(), 0);
    assert_eq!(hash(&copy), hash(&StubService::new(1)));
    assert_ne!(hash(&copy), hash(&service));
    assert_eq!(copy.root_key(), service.root_key());
    assert_ne!(copy.root_key(), StubService::new(2).root_key());
}

#[test]
fn the_same_seeds_give_the_same_flash_byte_for_byte() {
    let images = [(); 2].map(|()| {
        let device = activated(&mut StubService::new(7));
        (
            device.journal.image(),
            device.vault.image(),
            device.slots.image(),
        )
    });
    assert!(images[0] == images[1]);
}
