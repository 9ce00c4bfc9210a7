//! The agent's own memory, searched byte by byte.

use crate::common::{Bench, DAY_S, Draws, EMAIL, HOUR_S, seed_or};
use nrd_agent::wire::{LeaseTerms, LockReason, OrderKind};
use nrd_agent::{Class, State};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Crypto as _, Effaceable as _, Epoch, RootKey as _};

/// This process's memory from `at` on.
fn memory(file: &std::fs::File, (at, length): (usize, usize)) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at as u64).expect("our own");
    bytes
}

/// A value longer than any record of the agent's own: its end stays in the scratch
/// buffer when only the next write overwrites it.
const LONG: &[u8; 1000] = &{
    let mut value = [b'.'; 1000];
    let mut at = 900;
    while at < value.len() {
        value[at] = b'A' + (at % 23) as u8;
        at += 1;
    }
    value
};

/// What opens an activation, or names its holder.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn note(&mut self, name: &str, bytes: &[u8]) {
        if !self.0.iter().any(|(_, known)| known == bytes) {
            self.0.push((name.into(), bytes.to_vec()));
        }
    }

    /// Everything of the activation in force, from outside: slots, root, service.
    fn note_all(&mut self, b: &mut Bench) {
        self.note("name", b"Alexandra");
        self.note("e-mail", EMAIL);
        self.note("address", &LONG[LONG.len() - 16..]);
        let id = b.attempt;
        self.note("series", &RingCrypto::sha256(&id.0)[..16]);
        for generation in 1..12 {
            let token = b.service.present_token(generation);
            self.note(&format!("token {generation}"), &token);
        }
        for slot in b.port.slots.image() {
            if &slot[..4] != b"NRS1" {
                continue;
            }
            let secret = &slot[32..64];
            self.note("secret", secret);
            let root = &mut b.port.root_key.clone();
            let Ok(base) = root.derive_epoch(b"nrd/1/vault", Epoch(b.epoch)) else {
                continue;
            };
            let ikm = [&base[..], secret].concat();
            let key = RingCrypto::hkdf(&id.0, &ikm, &[b"nrd/1/activation"]);
            self.note("activation key", &key);
        }
    }

    /// Names of what stands in the agent or in its buffers.
    fn found(&self, b: &Bench) -> Vec<&str> {
        let file = std::fs::File::open("/proc/self/mem").expect("Linux");
        let own = (
            std::ptr::from_ref(&b.agent).addr(),
            std::mem::size_of_val(&b.agent),
        );
        let all: Vec<Vec<u8>> = [own]
            .iter()
            .chain(&b.extents)
            .map(|extent| memory(&file, *extent))
            .collect();
        let stands = |secret: &[u8]| {
            all.iter()
                .any(|m| m.windows(secret.len()).any(|w| w == secret))
        };
        let found = self.0.iter().filter(|(_, secret)| stands(secret));
        found.map(|(name, _)| name.as_str()).collect()
    }
}

/// Something that happens to an activated device; true when it ends the activation.
fn happens(b: &mut Bench, draws: &mut Draws) -> &'static str {
    let state = b.state();
    match draws.below(11) {
        0 => {
            // Renewed: a token of the next generation.
            b.pass(DAY_S + HOUR_S, 6 * HOUR_S, true);
            "renewed"
        }
        1 => {
            let _refused = b.agent.put(Class::Email, 1, EMAIL).is_err();
            "put"
        }
        2 => {
            let _refused = b.agent.put(Class::PostalAddress, 1, LONG).is_err();
            let _refused = b
                .agent
                .get(Class::PostalAddress, 1, &mut [0; 1024])
                .is_err();
            "address"
        }
        3 => {
            let _refused = b.agent.display_name(&mut [0; 64]).is_err();
            "name"
        }
        4 => {
            let _refused = b.agent.forget(Class::Email).is_err();
            "forget"
        }
        5 => {
            b.service.statement = Some(LockReason::ConsentDue);
            b.pass(2 * HOUR_S, HOUR_S, true);
            b.service.statement = None;
            "locked"
        }
        6 => {
            b.pass(40 * DAY_S, DAY_S, false);
            "lease expired"
        }
        7 => {
            b.boot_offline();
            "reboot"
        }
        8 if state == State::Active => {
            b.agent.sign_out().expect("active");
            "signed out"
        }
        9 => {
            let (part, failure) = (draws.below(6), nrd_agent_testkit::Failure::Silent);
            b.outages()[part as usize].set(failure);
            b.pass(HOUR_S, 600, true);
            b.end_outages();
            b.pass(HOUR_S, 600, true);
            "outage"
        }
        _ => {
            b.agent.try_again();
            b.serve();
            "talk"
        }
    }
}

fn end(b: &mut Bench, draws: &mut Draws) -> &'static str {
    match draws.below(3) {
        0 => {
            b.agent.deactivate().expect("it works in every state");
            "deactivate"
        }
        1 => {
            let order = b.order(OrderKind::Deactivate);
            if b.agent.apply_order(&order, &mut [0; 192]).is_err() {
                b.agent.deactivate().expect("it works in every state");
            }
            "order"
        }
        _ => {
            b.pass(130 * DAY_S, DAY_S, false);
            if b.state() != State::Clean {
                b.agent.deactivate().expect("it works in every state");
            }
            "dead-man"
        }
    }
}

/// Found: activated and wiped in one boot, token, series and display name stood in
/// the agent's memory at `Clean`.
#[test]
fn attack_49_no_secret_is_left_in_the_agents_memory_after_a_wipe_in_any_order_of_events() {
    let first = seed_or(49);
    let lives: u64 = std::env::var("NRD_LIVES").map_or(60, |n| n.parse().unwrap());
    let (mut seen, mut searched) = (0, 0);
    for seed in first..first + lives {
        let draws = &mut Draws::new(seed);
        let mut secrets = Secrets(Vec::new());
        let mut b = Bench::new(seed);
        b.service.remember = draws.below(4) > 0;
        b.work();
        let mut life = Vec::new();
        for _owner in 0..2 {
            b.service.terms = LeaseTerms {
                renew_after_s: 24 * 3600,
                ..b.service.terms
            };
            b.activate();
            secrets.note_all(&mut b);
            let standing = secrets.found(&b);
            // The search finds what is there.
            assert!(
                standing.iter().any(|s| s.starts_with("token")),
                "seed {seed}"
            );
            seen += standing.len();
            for _ in 0..draws.below(8) {
                if !matches!(b.state(), State::Active | State::Locked(_)) {
                    break;
                }
                life.push(happens(&mut b, draws));
                secrets.note_all(&mut b);
            }
            if b.state() == State::SignedOut {
                let found = secrets.found(&b);
                assert!(
                    found.is_empty(),
                    "seed {seed}: {life:?}, signed out: {found:?}"
                );
                searched += 1;
            }
            life.push(end(&mut b, draws));
            // At every step from the commit on.
            loop {
                let found = secrets.found(&b);
                let at = format!("seed {seed}: {life:?}, {:?}: {found:?}", b.state());
                assert!(found.is_empty(), "{at}");
                searched += 1;
                match b.agent.poll_work() {
                    nrd_agent::Next::Again | nrd_agent::Next::Reset => {}
                    _ => break,
                }
            }
            b.serve();
            assert_eq!(b.state(), State::Clean, "seed {seed}: {life:?}");
            assert!(b.agent.is_clean());
            let found = secrets.found(&b);
            assert!(found.is_empty(), "seed {seed}: {life:?}, clean: {found:?}");
            searched += 1;
        }
    }
    println!(
        "seeds {first} to {}: {seen} secrets seen before, {searched} searches after",
        first + lives - 1
    );
}

/// A grant that is stored half way and given up, in the same boot.
#[test]
fn attack_49_a_grant_given_up_at_any_step_of_its_storing_leaves_nothing_in_memory() {
    for steps in 0..20 {
        let mut b = Bench::granted(49);
        for _ in 0..steps {
            b.agent.step().expect("it stores");
        }
        let mut secrets = Secrets(Vec::new());
        secrets.note_all(&mut b);
        assert!(!secrets.found(&b).is_empty());
        if b.state() == State::Active {
            b.agent.deactivate().unwrap();
        } else {
            b.agent.cancel_activation().unwrap();
        }
        let found = secrets.found(&b);
        assert!(found.is_empty(), "after {steps} steps: {found:?}");
        b.work();
        assert!(b.agent.is_clean() && secrets.found(&b).is_empty());
    }
}

/// The content of a slot that authenticates and is not in force opens nothing here,
/// and does not stay in the agent's memory.
#[test]
fn a_slot_that_is_not_in_force_leaves_nothing_in_memory() {
    let secret_of = |slot: &[u8; 256]| slot[32..64].to_vec();
    let looked_for = |secret| Secrets(vec![("secret".into(), secret)]);

    // No journal says which slot counts.
    let mut b = Bench::active(49);
    let secrets = looked_for(secret_of(&b.port.slots.image()[0]));
    assert_eq!(secrets.found(&b), ["secret"]);
    b.port.journal.edit(|cells| cells.fill(0xFF));
    b.boot_offline();
    assert_eq!(b.state(), State::Locked(LockReason::JournalLost));
    assert!(secrets.found(&b).is_empty());

    // The journal names the slot that a forgotten class has replaced it by.
    let mut b = Bench::active(49);
    let [older, _] = b.port.slots.image();
    b.agent.forget(Class::Email).unwrap();
    let secrets = looked_for(secret_of(&older));
    b.port.slots.erase(0).unwrap();
    b.port.slots.erase(1).unwrap();
    b.port.slots.write(0, &older).unwrap();
    b.boot_offline();
    assert_eq!(b.state(), State::Locked(LockReason::SessionLost));
    assert!(secrets.found(&b).is_empty());
}
