//! Values, their retention, and how a class is forgotten.

use nrd_agent::{Agent, Class, Error, State};
use nrd_hal::layout::Layout;
use nrd_sim::device::{AgentBuffers, TestBench, settle, talk};
use nrd_sim::hw::Board;

const HOUR_MS: u64 = 3_600_000;
const MAIL: &[u8] = b"holder@example.org";
const CARD: &[u8] = b"Visa 8861";

fn active(seed: u64) -> TestBench {
    let mut bench = nrd_tests::test_bench(seed);
    bench.service.terms.expires_after_s = u32::MAX / 2;
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        agent.put(Class::Email, 0, MAIL).unwrap();
        agent.put(Class::Payment, 0, CARD).unwrap();
    });
    bench
}

fn get(agent: &mut Agent<'_, Board>, class: Class) -> Result<Vec<u8>, Error> {
    let mut out = [0; 64];
    agent.get(class, 0, &mut out).map(|n| out[..n].to_vec())
}

/// Which of the two slots hold anything.
fn slots(bench: &TestBench) -> [bool; 2] {
    let chip = bench.hw.chip();
    let l = Layout::plan(&chip.spec().geometry).unwrap();
    [0, 1].map(|n| {
        let at = (l.slot_start + n * l.slot_size) as usize;
        chip.cells()[at..at + l.slot_size as usize]
            .iter()
            .any(|&b| b != 0xFF)
    })
}

#[test]
fn payment_data_is_served_for_720_powered_hours_and_no_longer() {
    let mut bench = active(501);
    bench.boot(|_, agent| {
        let clock = agent.platform().clock();
        clock.advance_ms(719 * HOUR_MS);
        settle(agent).unwrap();
        assert_eq!(get(agent, Class::Payment).as_deref(), Ok(CARD));
        clock.advance_ms(HOUR_MS);
        settle(agent).unwrap();
        assert_eq!(get(agent, Class::Payment), Err(Error::NotFound));
        assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL));
    });
    bench.boot(|_, agent| assert_eq!(get(agent, Class::Payment), Err(Error::NotFound)));
}

#[test]
fn a_class_can_be_forgotten_again_and_again_and_the_others_stay() {
    let mut bench = active(502);
    assert_eq!(slots(&bench), [true, false]);
    for n in 0..4u8 {
        let card = [b'0' + n; 16];
        bench.boot(|_, agent| {
            agent.put(Class::Payment, 0, &card).unwrap();
            agent.forget(Class::Payment).unwrap();
            assert_eq!(get(agent, Class::Payment), Err(Error::NotFound));
            assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL));
        });
        let even = n % 2 == 0;
        assert_eq!(slots(&bench), [!even, even], "the slots take turns");
        bench.boot(|_, agent| {
            assert_eq!(agent.state(), State::Active);
            assert_eq!(get(agent, Class::Payment), Err(Error::NotFound));
            assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL));
        });
    }
    // And the class can be used afterwards.
    bench.boot(|_, agent| agent.put(Class::Payment, 0, CARD).unwrap());
    bench.boot(|_, agent| assert_eq!(get(agent, Class::Payment).as_deref(), Ok(CARD)));
}

#[test]
fn a_removed_value_stays_removed_and_the_session_is_nobodys_to_take() {
    let mut bench = active(503);
    bench.boot(|_, agent| {
        agent.remove(Class::Payment, 0).unwrap();
        assert_eq!(get(agent, Class::Payment), Err(Error::NotFound));
        assert_eq!(get(agent, Class::Session), Err(Error::WrongState));
        let put = agent.put(Class::Session, 0, CARD);
        assert_eq!(put, Err(Error::WrongState));
        assert_eq!(agent.remove(Class::Session, 0), Err(Error::WrongState));
        assert_eq!(agent.forget(Class::Session), Err(Error::WrongState));
    });
    bench.boot(|_, agent| {
        assert_eq!(get(agent, Class::Payment), Err(Error::NotFound));
        let mut name = [0; 32];
        let n = agent.display_name(&mut name).unwrap();
        assert_eq!(&name[..n], b"Alexandra");
        assert!(agent.status().generation.is_some(), "the session is open");
    });
}

#[test]
fn before_the_boot_is_done_a_caller_is_asked_to_wait() {
    let mut bench = active(504);
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
    assert_eq!(get(&mut agent, Class::Email), Err(Error::Busy));
    assert_eq!(agent.put(Class::Email, 0, MAIL), Err(Error::Busy));
    assert_eq!(agent.forget(Class::Email), Err(Error::Busy));
    settle(&mut agent).unwrap();
    assert_eq!(get(&mut agent, Class::Email).as_deref(), Ok(MAIL));
}

#[test]
fn a_slot_that_will_not_be_written_or_destroyed_is_said_by_forget() {
    for n in [0, 1] {
        let mut bench = active(505);
        let at = {
            let chip = bench.hw.chip();
            let l = Layout::plan(&chip.spec().geometry).unwrap();
            l.slot_start + n * l.slot_size
        };
        // The old slot, which must die, or the other, which must be written.
        bench.hw.chip().stick(at + 8, 1, false);
        bench.boot(|_, agent| {
            assert_eq!(agent.forget(Class::Payment), Err(Error::WornOut));
        });
    }
}

#[test]
fn a_former_slot_put_back_while_it_is_on_is_not_taken_for_the_one_in_force() {
    let mut bench = active(506);
    let l = Layout::plan(&bench.hw.chip().spec().geometry).unwrap();
    let a = l.slot_start as usize..(l.slot_start + l.slot_size) as usize;
    let former = bench.hw.chip().cells()[a.clone()].to_vec();
    bench.boot(|_, agent| {
        agent.forget(Class::Payment).unwrap();
        agent.platform().with_chip(|c| {
            let mut image = c.cells().to_vec();
            image[a].copy_from_slice(&former);
            c.restore_image(&image);
        });
        agent.forget(Class::Payment).unwrap();
    });
    assert_eq!(slots(&bench), [true, false], "B was in force, A is written");
    bench.boot(|_, agent| assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL)));
}
