//! What a device trusts, and how that moves: each root signs the next, versions only
//! go up, and what is followed is on flash before it is used.

use nrd_agent::wire::{
    self, Answer, Delegation, KeyVersion, LeaseTerms, LockReason, MAX_FRAME, OrderKind, Reply,
    Request, RootChange, TermBounds, TrustVersion, peek,
};
use nrd_agent::{Agent, Config, Error, State};
use nrd_hal::layout::Layout;
use nrd_sim::base::sign::{keypair, public, signed};
use nrd_sim::device::{AgentBuffers, TestBench, settle};
use nrd_sim::hw::{Board, FaultMode, PlannedFault, Worn};
use ring::signature::Ed25519KeyPair;
use std::ops::Range;

const HOUR_S: u32 = 3600;

/// The service's root of this version, as honest firmware knows it.
fn root(version: u8) -> Ed25519KeyPair {
    keypair(&[0xA0 + version; 32])
}

const fn at(root: u32, delegation: u32) -> TrustVersion {
    TrustVersion { root, delegation }
}

/// The step to root `version`, which is `to`; signed by `by`.
fn step(by: &Ed25519KeyPair, version: u32, to: &Ed25519KeyPair) -> Vec<u8> {
    let root = public(to);
    signed(by, &RootChange { version, root })
}

fn journal(bench: &TestBench) -> Range<u32> {
    let geometry = bench.hw.chip().spec().geometry;
    Layout::plan(&geometry).unwrap().journal()
}

/// The journal takes no more writes.
fn wear_out(t: &mut Talking<'_, '_>) {
    let journal = journal(t.bench);
    t.agent.platform().with_chip(|c| {
        let since = c.ops();
        c.defects().wear_out(journal, Worn::Fails, false, since);
    });
}

/// A device that pins a root of ours, and its service.
struct Trusting {
    bench: TestBench,
    pinned: (u8, Ed25519KeyPair),
}

impl Trusting {
    fn new(seed: u64) -> Trusting {
        let bench = nrd_tests::test_bench(seed);
        Trusting {
            bench,
            pinned: (0, root(0)),
        }
    }

    /// The same device, followed on its own.
    fn fork(&self) -> Trusting {
        Trusting {
            bench: self.bench.fork(),
            pinned: (self.pinned.0, root(self.pinned.0)),
        }
    }

    /// A boot of the firmware.
    fn boot<T>(&mut self, then: impl FnOnce(&mut Talking<'_, '_>) -> T) -> T {
        let config = Config {
            service_root: public(&self.pinned.1),
            root_version: self.pinned.0.into(),
            ..self.bench.config()
        };
        let mut ram = AgentBuffers::default();
        let board = self.bench.board();
        let mut agent = Agent::new(board, config, ram.lend()).unwrap();
        settle(&mut agent).unwrap();
        let stub = peek(self.bench.service.delegation()).unwrap();
        then(&mut Talking {
            agent: &mut agent,
            bench: &mut self.bench,
            stub,
        })
    }

    /// An active device, under delegation 1 of root 0.
    fn active(seed: u64) -> Trusting {
        let mut device = Trusting::new(seed);
        device.boot(|t| {
            t.delegate(&root(0), at(0, 1)).unwrap();
            t.activate();
        });
        device
    }
}

/// A boot.
struct Talking<'t, 'm> {
    agent: &'t mut Agent<'m, Board>,
    bench: &'t mut TestBench,
    /// The keys with which the service signs orders, grants and leases.
    stub: Delegation,
}

impl Talking<'_, '_> {
    /// One exchange, in which the service offers this; what the device stated to
    /// trust, and whether it took the reply.
    fn offer(
        &mut self,
        root: Option<&[u8]>,
        delegation: Option<&[u8]>,
    ) -> (TrustVersion, Result<(), Error>) {
        if self.agent.state() == State::Clean {
            self.agent.start_activation().unwrap();
            self.bench.service.pending_polls = u32::MAX;
        }
        self.agent.try_again();
        let mut out = [0; MAX_FRAME];
        while self.agent.next_due_ms() != Some(0) {
            let ms = self.agent.next_due_ms().expect("something to say");
            self.agent.platform().clock().advance_ms(ms);
            settle(self.agent).unwrap();
        }
        let n = self.agent.poll_request(&mut out).unwrap().unwrap();
        let stated = peek::<Request<'_>>(&out[..n]).unwrap().trust;
        let said = self.bench.service.answer(&out[..n]);
        let said: Reply<'_> = wire::decode(&said).unwrap();
        let answer = match said.answer {
            // By itself: a lease is signed by the keys before, or by those after.
            Answer::CheckedIn { .. } if root.or(delegation).is_some() => Answer::CheckedIn {
                lease: None,
                statement: None,
                order: None,
                interval_s: 3600,
            },
            answer => answer,
        };
        let reply = Reply {
            challenge: said.challenge,
            root,
            delegation,
            answer,
        };
        let n = wire::encode(&reply, &mut out).unwrap();
        let taken = self.agent.handle_reply(&out[..n]);
        // A journal that takes no writes goes on failing; a grant is stored.
        for _ in 0..200 {
            let _next = self.agent.poll_work();
        }
        (stated, taken)
    }

    /// What the device states to trust.
    fn trusts(&mut self) -> TrustVersion {
        self.offer(None, None).0
    }

    fn change_root(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.offer(Some(frame), None).1
    }

    fn delegate(&mut self, by: &Ed25519KeyPair, version: TrustVersion) -> Result<(), Error> {
        let frame = signed(by, &self.delegation(version));
        self.offer(None, Some(&frame)).1
    }

    /// The keys of the service, under another version.
    fn delegation(&self, version: TrustVersion) -> Delegation {
        Delegation {
            version,
            ..self.stub
        }
    }

    fn activate(&mut self) {
        self.bench.service.pending_polls = 0;
        for _ in 0..5 {
            if self.agent.state() != State::Active {
                self.offer(None, None).1.unwrap();
            }
        }
        assert_eq!(self.agent.state(), State::Active);
    }
}

#[test]
fn a_root_is_followed_one_step_at_a_time_and_only_where_the_one_before_signed_it() {
    let mut device = Trusting::new(801);
    device.boot(|t| {
        t.delegate(&root(0), at(0, 1)).unwrap();
        let forged = step(&root(1), 1, &root(1));
        assert_eq!(t.change_root(&forged), Err(Error::BadSignature));
        assert_eq!(t.trusts(), at(0, 1));
        // Genuine, and not the next one: ignored, for it may have been on its way.
        for version in [0, 2, u32::MAX] {
            let other = step(&root(0), version, &root(2));
            assert_eq!(t.change_root(&other), Ok(()));
            assert_eq!(t.trusts(), at(0, 1), "version {version}");
        }
        t.change_root(&step(&root(0), 1, &root(1))).unwrap();
        assert_eq!(t.trusts(), at(1, 0), "what the old root delegated is over");
        assert_eq!(t.delegate(&root(0), at(0, 2)), Err(Error::BadSignature));
        assert_eq!(t.delegate(&root(0), at(1, 1)), Err(Error::BadSignature));
        t.delegate(&root(1), at(1, 1)).unwrap();
        assert_eq!(t.trusts(), at(1, 1));
    });
    // The next boot knows nothing of the firmware's root, nor does the one after it.
    for _ in 0..2 {
        device.boot(|t| {
            assert_eq!(t.trusts(), at(1, 1));
            let again = step(&root(0), 1, &root(3));
            assert_eq!(t.change_root(&again), Err(Error::BadSignature));
            let again = step(&root(1), 1, &root(3));
            assert_eq!(t.change_root(&again), Ok(()));
            assert_eq!(t.trusts(), at(1, 1));
        });
    }
    device.boot(|t| {
        t.change_root(&step(&root(1), 2, &root(2))).unwrap();
        t.delegate(&root(2), at(2, 1)).unwrap();
    });
    device.boot(|t| {
        assert_eq!(t.trusts(), at(2, 1));
        t.activate();
    });
}

#[test]
fn a_root_that_cannot_be_stored_is_not_used() {
    let mut device = Trusting::active(802);
    device.boot(|t| {
        wear_out(t);
        let next = step(&root(0), 1, &root(1));
        let refused = t.change_root(&next);
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(t.trusts(), at(0, 1));
        assert_eq!(t.delegate(&root(1), at(1, 1)), Err(Error::BadSignature));
        t.agent.platform().with_chip(|c| c.defects().mend());
        t.delegate(&root(0), at(0, 2)).unwrap();
        assert_eq!(t.trusts(), at(0, 2));
        t.change_root(&next).unwrap();
        assert_eq!(t.trusts(), at(1, 0));
    });
}

/// Wherever the power goes while a root and its delegation are stored: the device
/// comes up under the old root or under the new one, never under neither, and
/// follows in the end.
#[test]
fn a_cut_while_a_root_is_stored_leaves_the_old_one_or_the_new_one() {
    let device = Trusting::active(803);
    let follow = |t: &mut Talking<'_, '_>| {
        t.change_root(&step(&root(0), 1, &root(1)))?;
        t.delegate(&root(1), at(1, 1))
    };
    let (mut old, mut new) = (0, 0);
    for cut in 0.. {
        let mut device = device.fork();
        let mut struck = false;
        device.boot(|t| {
            t.agent.platform().with_chip(|c| {
                let at = c.ops() + cut;
                c.plan(Some(PlannedFault {
                    at,
                    tear: FaultMode::Nothing,
                    unstable: false,
                }));
            });
            let _cut = follow(t);
            struck = t.agent.platform().with_chip(|c| c.struck().is_some());
        });
        if !struck {
            break;
        }
        device.bench.power_on(cut);
        device.boot(|t| match t.trusts() {
            TrustVersion { root: 0, .. } => {
                old += 1;
                assert_eq!(t.trusts(), at(0, 1), "cut {cut}");
                follow(t).unwrap();
            }
            _ => {
                new += 1;
                t.delegate(&root(1), at(1, 1)).unwrap();
            }
        });
        device.boot(|t| {
            assert_eq!(t.trusts(), at(1, 1), "cut {cut}");
            assert_eq!(t.agent.state(), State::Active, "cut {cut}");
        });
    }
    println!("{old} cuts left the old root, {new} the new one");
    assert!(old > 0 && new > 0);
}

#[test]
fn a_root_that_the_firmware_pins_counts_before_what_was_stored() {
    let mut device = Trusting::active(804);
    device.boot(|t| t.change_root(&step(&root(0), 1, &root(1))).unwrap());
    // An update of the firmware: with the stored one's version, and with a newer one.
    for (version, key) in [(1, 8), (2, 9)] {
        device.pinned = (version, root(key));
        device.boot(|t| {
            assert_eq!(t.trusts(), at(version.into(), 0));
            let delegated = at(version.into(), 1);
            assert_eq!(t.delegate(&root(1), delegated), Err(Error::BadSignature));
            t.delegate(&root(key), delegated).unwrap();
            assert_eq!(t.trusts(), delegated);
        });
    }
}

/// A delegation of other keys for orders and sessions.
fn other_keys(of: Delegation) -> Delegation {
    Delegation {
        order_key: public(&keypair(&[0xB1; 32])),
        session_key: public(&keypair(&[0xB2; 32])),
        ..of
    }
}

/// Whether the device obeys this key's orders; a sign-out.
fn obeys(t: &mut Talking<'_, '_>, order: &[u8]) -> bool {
    let applied = t.agent.apply_order(order, &mut [0; 192]);
    if let Err(e) = applied {
        assert!(
            matches!(e, Error::BadSignature | Error::KeyRetired),
            "{e:?}"
        );
    }
    applied.is_ok()
}

/// An order of the service, to sign out what it granted last.
fn sign_out(t: &mut Talking<'_, '_>) -> Vec<u8> {
    assert!(t.bench.service.send_order(OrderKind::SignOut));
    t.bench.service.pending.take().unwrap()
}

/// Rots the text of every copy of the delegation (class 0, id 3).
fn lose_delegation(bench: &TestBench) {
    let journal = journal(bench);
    let image = bench.hw.chip().cells().to_vec();
    let mut lost = 0;
    for at in (journal.start as usize..journal.end as usize).step_by(4) {
        if image[at] < 192 && image[at + 1..].starts_with(&[0, 3, 0, 0, 0]) {
            bench.hw.chip().rot(at as u32 + 20, 0xFF);
            lost += 1;
        }
    }
    assert!(lost > 0);
}

#[test]
fn a_delegation_that_rotted_is_told_and_only_the_same_or_a_newer_one_takes_its_place() {
    for newest in [2, 3] {
        let mut device = Trusting::active(806);
        device.boot(|t| t.delegate(&root(0), at(0, 2)).unwrap());
        lose_delegation(&device.bench);
        device.boot(|t| {
            assert_eq!(t.trusts(), at(0, 0));
            assert!(t.agent.status().losses.delegation);
            t.delegate(&root(0), at(0, 1)).unwrap();
            assert_eq!(t.trusts(), at(0, 0), "versions do not fall");
            assert!(t.agent.status().losses.delegation);
            wear_out(t);
            t.delegate(&root(0), at(0, newest)).unwrap_err();
            assert!(t.agent.status().losses.delegation, "it is not stored");
            t.agent.platform().with_chip(|c| c.defects().mend());
            t.delegate(&root(0), at(0, newest)).unwrap();
            assert_eq!(t.trusts(), at(0, newest));
            assert!(!t.agent.status().losses.delegation);
        });
        device.boot(|t| assert_eq!(t.trusts(), at(0, newest)));
    }
}

#[test]
fn a_device_that_was_never_given_a_delegation_has_lost_none() {
    let mut device = Trusting::new(807);
    device.boot(|t| {
        assert_eq!(t.trusts(), at(0, 0));
        assert!(t.agent.status().losses.is_empty());
    });
}

#[test]
fn a_lease_is_held_between_what_the_root_allows() {
    let bounds = TermBounds {
        expires_min_s: 2 * HOUR_S,
        expires_max_s: 5 * HOUR_S,
        boots_min: 3,
        dead_man_min_s: 7 * HOUR_S,
    };
    // What a stolen session key signs, and when access ends and the account's data.
    for (expires_after_s, dead_man_s, closes_h, wipes_h) in [
        (1, 1, 2, Some(9)),
        (90 * 24 * HOUR_S, 8 * HOUR_S, 5, Some(13)),
        (3 * HOUR_S, 0, 3, None),
    ] {
        let mut device = Trusting::active(808);
        device.bench.service.terms = LeaseTerms {
            renew_after_s: 1,
            expires_after_s,
            max_boots: 1,
            dead_man_s,
        };
        device.boot(|t| {
            let delegation = Delegation {
                bounds,
                ..t.delegation(at(0, 2))
            };
            let frame = signed(&root(0), &delegation);
            t.offer(None, Some(&frame)).1.unwrap();
            t.offer(None, None).1.unwrap();
            let mut seen = Vec::new();
            for _ in 0..20 {
                seen.push(t.agent.state());
                t.agent
                    .platform()
                    .clock()
                    .advance_ms(u64::from(HOUR_S) * 1000);
                settle(t.agent).unwrap();
            }
            let first = |state| seen.iter().position(|&s| s == state);
            let expired = State::Locked(LockReason::LeaseExpired);
            let cell = format!("{expires_after_s} s, {dead_man_s} s: {seen:?}");
            assert_eq!(first(expired), Some(closes_h), "{cell}");
            assert_eq!(first(State::Clean), wipes_h, "{cell}");
        });
    }
}

#[test]
fn a_delegation_counts_from_its_reply_on_and_versions_only_go_up() {
    let mut device = Trusting::active(805);
    device.boot(|t| {
        t.delegate(&root(0), at(0, 5)).unwrap();
        // The same version with other keys, an older one, one of another root.
        for version in [at(0, 5), at(0, 4), at(1, 6)] {
            let other = other_keys(t.delegation(version));
            let taken = t.offer(None, Some(&signed(&root(0), &other))).1;
            assert_eq!(taken, Ok(()));
            assert_eq!(t.trusts(), at(0, 5), "{version:?}");
        }
        // A newer one, but under an order key that was in force before.
        let falls = Delegation {
            order_key_version: KeyVersion(0),
            ..other_keys(t.delegation(at(0, 6)))
        };
        let taken = t.offer(None, Some(&signed(&root(0), &falls))).1;
        assert_eq!((taken, t.trusts()), (Ok(()), at(0, 5)));
        let order = sign_out(t);
        assert!(obeys(t, &order), "the keys in force are those of version 5");
        t.agent.start_activation().unwrap();
        t.activate();
        let order = sign_out(t);
        // A newer one is in force at once: other keys sign from here on.
        let newer = other_keys(t.delegation(at(0, 6)));
        t.offer(None, Some(&signed(&root(0), &newer))).1.unwrap();
        assert!(!obeys(t, &order), "an order of the key before");
        let lease = t.offer(None, None).1;
        assert_eq!(lease, Err(Error::BadSignature), "one of the key before");
    });
    device.boot(|t| {
        assert_eq!(t.trusts(), at(0, 6));
        let order = sign_out(t);
        assert!(!obeys(t, &order), "an order of the key before");
    });
}

/// However many calls of the part fail from the first on: what was refused has
/// changed nothing, and is taken when it comes again.
#[test]
fn a_delegation_that_cannot_be_stored_is_not_noted_either() {
    let device = Trusting::active(809);
    let mut refused = 0;
    for calls in 0..60 {
        let mut device = device.fork();
        device.boot(|t| {
            t.trusts();
            t.agent.platform().with_chip(|c| {
                let now = c.ops();
                c.defects().silence(now, calls);
            });
            let taken = t.delegate(&root(0), at(0, 2));
            t.agent.platform().with_chip(|c| c.defects().mend());
            refused += u32::from(taken.is_err());
            let now = if taken.is_ok() { 2 } else { 1 };
            assert_eq!(t.trusts(), at(0, now), "{calls} calls failed");
        });
        device.boot(|t| {
            t.delegate(&root(0), at(0, 2)).unwrap();
            assert_eq!(t.trusts(), at(0, 2), "{calls} calls failed");
        });
        device.boot(|t| assert_eq!(t.trusts(), at(0, 2), "{calls} calls failed"));
    }
    println!("{refused} were refused");
    assert!((1..60).contains(&refused));
}
