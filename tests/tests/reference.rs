//! Random lives of one device and its service in virtual time, held step by step
//! against a simple model. A life that goes wrong is shortened, and kept in
//! `tests/reference.proptest-regressions`.
//!
//! `NRD_CASES=N` for more lives, `NRD_SEED=N` for others.

use nrd_agent::wire::DeviceKind;
use nrd_agent::{Class, Error, State};
use nrd_hal::Geometry;
use nrd_sim::base::sample::Samples;
use nrd_sim::forensics::inspect::{Image, Search, inspect};
use nrd_sim::hw::{ChipSpec, FaultMode};
use nrd_sim::service::Settings;
use nrd_sim::service::account::DeviceStatus;
use nrd_sim::service::store::AccountId;
use nrd_sim::world::{Made, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::collections::BTreeMap;

const HOUR_MS: u64 = 3_600_000;
const HOME: &str = "192.0.2.80";
const CLASSES: [Class; 3] = [Class::Email, Class::Payment, Class::Activity];
/// Longest that the model keeps a device without word from the service, in
/// powered hours: less than its lease.
const SILENT_H: u64 = 25 * 24;

type Key = (u8, u16);

/// What the account page must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    InUse,
    Ordered,
    /// Wiped at the device; the receipt may be there or not.
    Underway,
    Proven,
}

/// The model.
#[derive(Debug, Clone)]
struct Model {
    seed: u64,
    on: bool,
    online: bool,
    owner: Option<usize>,
    /// What each key may hold: one value, or after a cut two.
    may: BTreeMap<Key, Vec<Option<u8>>>,
    /// Powered hours since the service was last heard, at most.
    silent_h: u64,
    pages: [Option<Page>; 2],
    /// A removal was on its way to a device that was on and in reach: whether it
    /// has struck already, nobody can say before time passes in reach.
    dying: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Activate(usize),
    Put(Key, u8),
    Drop(Key),
    CutPut(Key, u8, u64, FaultMode),
    PowerOff,
    PowerOn,
    Network(bool),
    Remove,
    Wipe,
    CutWipe(u64, FaultMode),
    Pass(u64),
}

impl Model {
    fn ordered(&self) -> bool {
        self.owner
            .is_some_and(|o| self.pages[o] == Some(Page::Ordered))
    }

    /// The owner and all of the account are gone.
    fn gone(&mut self, page: Page) {
        if let Some(owner) = self.owner.take() {
            self.pages[owner] = Some(page);
        }
        self.may.clear();
        self.dying = false;
    }
}

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        any::<u64>()
            .prop_map(|seed| Model {
                seed,
                on: true,
                online: true,
                owner: None,
                may: BTreeMap::new(),
                silent_h: 0,
                pages: [None; 2],
                dying: false,
            })
            .boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Step> {
        let key = (0..3u8, 1..4u16);
        let tear = prop::sample::select(vec![
            FaultMode::Nothing,
            FaultMode::Prefix,
            FaultMode::Suffix,
            FaultMode::Random,
            FaultMode::AllButOne,
            FaultMode::Complete,
            FaultMode::Weak,
        ]);
        prop_oneof![
            4 => (0..2usize).prop_map(Step::Activate),
            6 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
            1 => key.clone().prop_map(Step::Drop),
            4 => (key, any::<u8>(), 0..8u64, tear.clone())
                .prop_map(|(k, v, op, t)| Step::CutPut(k, v, op, t)),
            2 => Just(Step::PowerOff),
            4 => Just(Step::PowerOn),
            2 => any::<bool>().prop_map(Step::Network),
            2 => Just(Step::Remove),
            1 => Just(Step::Wipe),
            1 => (0..40u64, tear).prop_map(|(op, t)| Step::CutWipe(op, t)),
            3 => (2..60u64).prop_map(Step::Pass),
        ]
        .boxed()
    }

    fn preconditions(m: &Model, step: &Step) -> bool {
        let used = m.on && m.owner.is_some() && !m.dying;
        match step {
            Step::Activate(_) => m.on && m.online && m.owner.is_none(),
            Step::Put(..) | Step::CutPut(..) | Step::Wipe | Step::CutWipe(..) => used,
            Step::Drop(key) => used && m.may.contains_key(key),
            Step::PowerOff => m.on,
            Step::PowerOn => !m.on,
            Step::Network(on) => m.online != *on && !m.dying,
            Step::Remove => m.owner.is_some() && !m.ordered(),
            Step::Pass(h) => m.silent_h + h < SILENT_H,
        }
    }

    fn apply(mut m: Model, step: &Step) -> Model {
        match *step {
            Step::Activate(account) => {
                m.owner = Some(account);
                m.pages[account] = Some(Page::InUse);
            }
            Step::Put(key, value) => drop(m.may.insert(key, vec![Some(value)])),
            Step::Drop(key) => drop(m.may.insert(key, vec![None])),
            Step::CutPut(key, value, ..) => {
                m.may.entry(key).or_insert(vec![None]).push(Some(value));
                m.on = false;
            }
            Step::PowerOff => m.on = false,
            Step::PowerOn => m.on = true,
            Step::Network(on) => m.online = on,
            Step::Remove => {
                if let Some(owner) = m.owner {
                    m.pages[owner] = Some(Page::Ordered);
                }
            }
            Step::Wipe => m.gone(Page::Underway),
            Step::CutWipe(..) => {
                m.gone(Page::Underway);
                m.on = false;
            }
            Step::Pass(h) if m.on && m.online => {
                m.silent_h = 0;
                let _ = h;
                if m.dying {
                    m.gone(Page::Proven);
                }
                for page in m.pages.iter_mut().flatten() {
                    if *page == Page::Underway {
                        *page = Page::Proven;
                    }
                }
            }
            Step::Pass(h) => m.silent_h += if m.on { h } else { 0 },
        }
        m.dying |= m.on && m.online && m.ordered();
        m
    }
}

/// The real thing.
struct Real {
    world: World,
    accounts: Vec<AccountId>,
    /// What an undecided key turned out to hold: it must stay so.
    seen: BTreeMap<Key, Option<u8>>,
}

const DEVICE: usize = 0;

fn value(byte: u8) -> Vec<u8> {
    vec![byte; 40]
}

impl Real {
    fn put(&mut self, (class, id): Key, byte: u8) -> Option<Result<(), Error>> {
        self.seen.remove(&(class, id));
        let class = CLASSES[usize::from(class)];
        self.world.devices[DEVICE].with(|agent| agent.put(class, id, &value(byte)))
    }

    fn get(&mut self, (class, id): Key) -> Option<u8> {
        let class = CLASSES[usize::from(class)];
        let mut out = [0; 64];
        let got = self.world.devices[DEVICE].with(|agent| agent.get(class, id, &mut out));
        match got.expect("the device is on") {
            Ok(n) => {
                assert_eq!(out[..n], value(out[0]), "a value of two halves");
                Some(out[0])
            }
            Err(Error::NotFound) => None,
            Err(e) => panic!("{class:?} {id}: {e}"),
        }
    }

    fn state(&mut self) -> Option<State> {
        self.world.devices[DEVICE].state()
    }

    fn activate(&mut self, account: usize) {
        self.seen.clear();
        let account = self.accounts[account];
        let begun = self.world.devices[DEVICE].with(|agent| agent.start_activation());
        assert_eq!(begun, Some(Ok(())));
        for _ in 0..600 {
            self.world.call(DEVICE);
            let code = self.world.devices[DEVICE]
                .with(|agent| agent.status().code.map(|(code, _)| code.to_string()));
            if let Some(Some(code)) = code {
                let row = self.world.service.look_up_code(account, &code);
                let row = row.expect("a code that is shown is known");
                // Given already, when the device has not asked again yet.
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "the model says below whether it had to work"
                )]
                let _ = self.world.service.approve(account, &row, 1, true, HOME);
            }
            if self.state() == Some(State::Active) {
                return;
            }
            self.world.pass(2000);
        }
        panic!("the activation does not end: {:?}", self.state());
    }

    fn newest(&self, account: usize) -> Option<([u8; 16], DeviceStatus)> {
        let list = self.world.service.devices(self.accounts[account]);
        let first = list.expect("the service answers").into_iter().next();
        first.map(|d| (d.row.id, d.status))
    }

    fn readable(&self) -> usize {
        let device = &self.world.devices[DEVICE];
        let chip = device.hardware().chip();
        let image = Image {
            cells: chip.cells(),
            geometry: chip.spec().geometry,
        };
        let search = Search {
            root: Some(device.root()),
            epochs: (0..=chip.counter()).collect(),
            ..Search::default()
        };
        inspect(&image, &search)
            .expect("a good geometry")
            .readable_bytes
    }
}

struct Lives;

impl StateMachineTest for Lives {
    type SystemUnderTest = Real;
    type Reference = Machine;

    fn init_test(m: &Model) -> Real {
        let mut world = World::new(m.seed, Settings::default()).expect("a virtual service");
        let samples = Samples::read(None).expect("the built-in accounts").accounts;
        let accounts = samples[..2].iter();
        let accounts = accounts
            .map(|s| world.service.add_account_without_password(s).expect("room"))
            .collect();
        let geometry = Geometry {
            size: 32 * 1024,
            write_size: 4,
            erase_size: 2048,
            best_erase: 2048,
        };
        let n = world.bring(Made {
            id: "NRD-LIFE-1".to_owned(),
            model: "Box".to_owned(),
            kind: DeviceKind::SetTopBox,
            chip: ChipSpec {
                geometry,
                can_overwrite: false,
            },
            longest: 256,
            records: 32,
        });
        world.power_on(n);
        Real {
            world,
            accounts,
            seen: BTreeMap::new(),
        }
    }

    fn apply(mut real: Real, m: &Model, step: Step) -> Real {
        match step {
            Step::Activate(account) => real.activate(account),
            Step::Put(key, byte) => assert_eq!(real.put(key, byte), Some(Ok(()))),
            Step::Drop((class, id)) => {
                let before = real.get((class, id));
                real.seen.remove(&(class, id));
                let class = CLASSES[usize::from(class)];
                let done = real.world.devices[DEVICE].with(|agent| agent.remove(class, id));
                let right = if before.is_some() {
                    Ok(())
                } else {
                    Err(Error::NotFound)
                };
                assert_eq!(done, Some(right));
            }
            Step::CutPut(key, byte, operation, tear) => {
                real.world.devices[DEVICE].plan_cut(operation, tear);
                let done = real.put(key, byte);
                if done == Some(Ok(())) && real.world.devices[DEVICE].is_on() {
                    real.seen.insert(key, Some(byte));
                }
                real.world.power_off(DEVICE);
            }
            Step::PowerOff => real.world.power_off(DEVICE),
            Step::PowerOn => real.world.power_on(DEVICE),
            Step::Network(on) => {
                real.world.network(DEVICE, on);
                if m.on {
                    real.world.call(DEVICE);
                }
            }
            Step::Remove => {
                let owner = m.owner.expect("an owner");
                let (id, _) = real.newest(owner).expect("it is listed");
                let account = real.accounts[owner];
                real.world
                    .service
                    .remove(account, &id, HOME)
                    .expect("removed");
            }
            Step::Wipe => {
                let asked = real.world.devices[DEVICE].with(|agent| agent.deactivate());
                assert_eq!(asked, Some(Ok(())));
                real.world.call(DEVICE);
            }
            Step::CutWipe(operation, tear) => {
                let asked = real.world.devices[DEVICE].with(|agent| agent.deactivate());
                assert_eq!(asked, Some(Ok(())));
                if real.world.devices[DEVICE].is_on() {
                    real.world.devices[DEVICE].plan_cut(operation, tear);
                    real.world.call(DEVICE);
                }
                real.world.power_off(DEVICE);
            }
            Step::Pass(h) => real.world.pass(h * HOUR_MS),
        }
        real.check(m);
        real
    }
}

impl Real {
    /// Everything that shows, against the model.
    fn check(&mut self, m: &Model) {
        assert_eq!(self.world.devices[DEVICE].is_on(), m.on);
        if m.on && !m.dying {
            let right = m.owner.map_or(State::Clean, |_| State::Active);
            assert_eq!(self.state(), Some(right));
            for (key, may) in m.may.iter().filter(|_| m.owner.is_some()) {
                let now = self.get(*key);
                assert!(may.contains(&now), "{key:?} is {now:?}, may be {may:?}");
                let first = *self.seen.entry(*key).or_insert(now);
                assert_eq!(now, first, "{key:?} was seen otherwise before");
            }
            if m.owner.is_none() {
                assert_eq!(self.readable(), 0, "account bytes on a clean device");
            }
        }
        for account in 0..2 {
            let says = self.newest(account).map(|(_, standing)| standing);
            let right = match (m.pages[account], says) {
                (None, says) => says.is_none(),
                (Some(Page::Proven), says) => says == Some(DeviceStatus::Wiped),
                (Some(Page::Ordered), Some(says)) => {
                    let honest = [DeviceStatus::Removing, DeviceStatus::Delivered];
                    honest.contains(&says) || (m.dying || !m.on) && says == DeviceStatus::Wiped
                }
                (Some(Page::InUse), Some(says)) => {
                    says != DeviceStatus::Theft && says != DeviceStatus::Wiped
                }
                (Some(Page::Underway), Some(says)) => says != DeviceStatus::Theft,
                (Some(_), None) => false,
            };
            assert!(right, "account {account}: {says:?}, {:?}", m.pages[account]);
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|s| s.parse().ok()).unwrap_or(otherwise)
}

fn config() -> Config {
    let seed = number("NRD_SEED", 20_261_125);
    println!("seed {seed}");
    Config {
        cases: number("NRD_CASES", 64) as u32,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 2_000,
        max_local_rejects: u32::MAX,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/reference.proptest-regressions",
        ))),
        ..Config::default()
    }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn a_device_and_its_service_do_what_the_model_says(sequential 1..60 => Lives);
}
