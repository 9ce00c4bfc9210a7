//! A device on an eMMC: the port keeps its promises, a life with a cut at every
//! write ends clean, and the receipt claims no more than the part can keep.

use nrd_agent::wire::{Method, Receipt, decode_signed};
use nrd_agent::{Agent, Class, Config, State};
use nrd_hal::conformance;
use nrd_hal::crypto::RingCrypto;
use nrd_sim::device::{AgentBuffers, Stop, settle, talk};
use nrd_sim::hw::{EmmcBoard, SharedEmmc};
use nrd_tests::bench::{Bench, activate};

const RPMB_KEY: [u8; 32] = [0x66; 32];
const ROOT: [u8; 32] = [0x67; 32];
const EMAIL: &[u8] = b"alexandra@example.com";

fn board(part: &SharedEmmc, bench: &Bench, seed: u64) -> EmmcBoard {
    let maker = bench.service.keys.maker();
    EmmcBoard::new(part, RPMB_KEY, ROOT, seed, maker, "NRD-EMMC-1").unwrap()
}

/// One boot; `None` when the power went.
fn boot<T>(
    part: &SharedEmmc,
    bench: &Bench,
    seed: u64,
    then: impl FnOnce(&mut nrd_sim::world::InProcess, &mut Agent<'_, EmmcBoard>) -> Option<T>,
) -> Option<T> {
    let mut ram = AgentBuffers::default();
    let config = Config {
        service_root: bench.service.keys.root_public(),
        root_version: 0,
        factory_epoch: 0,
        wait_s: 0,
    };
    let mut agent = Agent::new(board(part, bench, seed), config, ram.lend()).unwrap();
    match settle(&mut agent) {
        Ok(()) => then(
            &mut nrd_sim::world::InProcess(bench.service.clone()),
            &mut agent,
        ),
        Err(Stop::Off) => None,
        Err(Stop::Wrong(why)) => panic!("{why}"),
    }
}

fn remembers(agent: &mut Agent<'_, EmmcBoard>) -> bool {
    let mut out = [0; 64];
    agent.state() == State::Active
        && agent.get(Class::Email, 1, &mut out) == Ok(EMAIL.len())
        && &out[..EMAIL.len()] == EMAIL
}

fn activated(bench: &Bench) -> SharedEmmc {
    let part = EmmcBoard::part(RPMB_KEY);
    boot(&part, bench, 1, |service, agent| {
        activate(service, agent, bench.account(0), true);
        agent.put(Class::Email, 1, EMAIL).unwrap();
        Some(())
    })
    .unwrap();
    part
}

#[test]
fn the_emmc_port_keeps_every_promise() {
    let bench = Bench::new();
    let part = EmmcBoard::part(RPMB_KEY);
    let mut port = board(&part, &bench, 3);
    conformance::platform(&mut port).unwrap_or_else(|f| panic!("{f}"));
    let before = conformance::before_power_cycle(&mut port).unwrap();
    let mut again = board(&part, &bench, 4);
    conformance::after_power_cycle(&mut again, &before).unwrap();
}

#[test]
fn the_receipt_of_an_emmc_says_clear_and_not_purge() {
    let bench = Bench::new();
    let part = activated(&bench);
    let old_image = part.part().user_image();
    let receipt = boot(&part, &bench, 2, |service, agent| {
        assert!(remembers(agent));
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
        let mut out = [0; 640];
        let n = agent.newest_receipt(&mut out).unwrap();
        talk(service, agent).unwrap();
        Some(out[..n].to_vec())
    })
    .unwrap();
    let key = nrd_sim::base::sign::public(&nrd_sim::hw::device_key(&ROOT, "NRD-EMMC-1"));
    let told: Receipt<'_> = decode_signed::<_, RingCrypto>(&receipt, &key).unwrap();
    assert_eq!(told.method, Method::Clear);
    assert!(told.flags.slots_outside_image);
    assert!(told.flags.root_refuses_past);

    // Why: the pages beneath still hold every slot that was ever written.
    let (slots, user) = {
        let part = part.part();
        let stale = part.stale_pages();
        let slots = stale.iter().filter(|p| p.len() == 256).count();
        let kept = stale.iter().any(|p| {
            p.len() == 512
                && old_image
                    .windows(512)
                    .step_by(512)
                    .any(|o| o == p.as_slice() && o.iter().any(|&b| b != 0xFF))
        });
        (slots, kept)
    };
    assert!(slots > 2, "slots linger beneath: {slots}");
    assert!(user, "and sealed sectors of the vault");
    // Through the interface nothing is left, and no page holds plain text.
    let part = part.part();
    let plain = |bytes: &[u8]| bytes.windows(EMAIL.len()).any(|w| w == EMAIL);
    assert!(!plain(&part.user_image()));
    assert!(!part.stale_pages().iter().any(|p| plain(p)));
}

#[test]
fn neither_an_old_image_nor_a_replayed_rpmb_write_brings_the_account_back() {
    let bench = Bench::new();
    let part = activated(&bench);
    let old_image = part.part().user_image();
    boot(&part, &bench, 2, |_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        Some(())
    })
    .unwrap();
    let writes = part.part().seen_on_the_bus().to_vec();
    assert!(writes.len() > 3);
    for write in &writes {
        let mut part = part.part();
        assert!(
            part.rpmb_write(write).is_err(),
            "a replayed write was taken"
        );
    }
    part.part().restore_user_image(&old_image);
    boot(&part, &bench, 5, |_, agent| {
        assert!(!remembers(agent));
        assert_ne!(agent.state(), State::Active);
        Some(())
    })
    .unwrap();
}

#[test]
fn a_cut_at_every_write_of_a_wipe_still_ends_clean() {
    let bench = Bench::new();
    let whole = activated(&bench);
    let copy = |of: &SharedEmmc| {
        let part = EmmcBoard::part(RPMB_KEY);
        *part.part() = of.part().clone();
        part
    };
    let wipe = |_: &mut nrd_sim::world::InProcess, agent: &mut Agent<'_, EmmcBoard>| {
        let asked = agent.deactivate();
        match settle(agent) {
            Ok(()) if asked.is_ok() => Some(()),
            _ => None,
        }
    };
    let uncut = copy(&whole);
    let from = uncut.part().writes;
    boot(&uncut, &bench, 2, wipe).unwrap();
    let to = uncut.part().writes;
    let mut cuts = 0;
    // Every write up to the first sectors of the vault, then every 7th.
    for at in (from + 1..=to).filter(|at| at - from < 120 || at % 7 == 0) {
        for happens in [false, true] {
            let part = copy(&whole);
            part.part().cut = Some((at, happens));
            assert!(
                boot(&part, &bench, 2, wipe).is_none(),
                "write {at} was not cut"
            );
            part.part().power_on();
            cuts += 1;
            boot(&part, &bench, 3, |_, agent| {
                // Not ordered yet: then ordered again. Else it ends by itself.
                if agent.state() != State::Clean {
                    assert!(remembers(agent), "half an account at write {at}");
                    agent.deactivate().unwrap();
                    settle(agent).unwrap();
                }
                assert_eq!(agent.state(), State::Clean, "write {at}");
                assert!(agent.is_clean(), "write {at}");
                Some(())
            })
            .unwrap();
        }
    }
    println!("{} writes, {cuts} cuts", to - from);
    assert!(cuts > 200);
}
