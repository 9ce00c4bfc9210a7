//! Parts that go bad. Data may be lost; that older values are then served in
//! silence is open (`docs/KNOWN-ISSUES.md`; `NRD_OPEN=1` shows it). The device
//! never calls itself clean over cells that are not, never panics, never goes
//! on for ever, and a person's wipe ends.
//!
//! `NRD_LIVES=N` for more lives of each kind, `NRD_SEED=N` for others.

use nrd_agent::wire::{LockReason, Method};
use nrd_agent::{Class, Error, State};
use nrd_hal::Geometry;
use nrd_sim::explorer::NAMED;
use nrd_sim::hw::{ChipSpec, FaultMode, PlannedFault, SplitMix, VirtualRng, Worn};
use nrd_tests::hard::{End, Life, Rest};
use std::collections::BTreeMap;

/// Parts of several sizes, small enough for many lives.
fn chips() -> impl Iterator<Item = (&'static str, ChipSpec)> {
    let small = [
        "words-2k",
        "ecc-2k-smallest",
        "bytes-256-aged",
        "spi-nor-4k",
    ];
    let named = NAMED.iter().filter(move |n| small.contains(&n.name));
    named.map(|n| (n.name, n.chip))
}

/// A vault of twenty sectors.
const MANY: ChipSpec = ChipSpec {
    geometry: Geometry {
        size: 26 * 2048,
        write_size: 8,
        erase_size: 2048,
        best_erase: 2048,
    },
    can_overwrite: false,
};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(otherwise)
}

/// Runs `one` on a few lives on each part; prints how they ended.
fn lives(what: &str, each: u64, mut one: impl FnMut(&mut Life, &mut SplitMix)) {
    let base = number("NRD_SEED", 1);
    let mut ends = BTreeMap::<String, u64>::new();
    let (mut right, mut said, mut silent, mut stale, mut most_ops) = (0, 0, 0, 0, 0);
    for (name, chip) in chips() {
        for n in 0..number("NRD_LIVES", each) {
            let seed = base.wrapping_mul(1_000_003).wrapping_add(n);
            println!("{what}, {name}: seed {seed}");
            let mut life = Life::new(chip, seed);
            let mut draws = SplitMix(seed ^ 0xFA17);
            one(&mut life, &mut draws);
            right += life.tally.right;
            said += life.tally.said;
            stale += life.tally.stale.len();
            silent += life.tally.silent.len();
            most_ops = most_ops.max(life.tally.most_ops);
            let end = format!("{:?}", life.tally.ended);
            *ends.entry(end).or_default() += 1;
        }
    }
    println!(
        "{what}: {right} values right, {said} losses said, {silent} not said, {stale} stale, at most {most_ops} operations a step"
    );
    for (end, n) in ends {
        println!("{what}: {n} ended in {end}");
    }
}

/// Ends the life: a wipe, and its receipt says what the cells say.
fn wiped(life: &mut Life) -> End {
    let end = life.end();
    let says = life.receipt();
    println!(
        "ended {end:?}, the receipt says {says:?}, {} in all",
        life.bench.service.receipts.len()
    );
    match end {
        End::Clean => assert_eq!(says, Some(Method::Purge)),
        End::Failed => assert_eq!(says, Some(Method::Failed)),
        End::Never(_) => {}
    }
    end
}

fn ended(life: &mut Life) {
    let end = wiped(life);
    assert!(
        !matches!(end, End::Never(_)),
        "the wipe never ends: {end:?}"
    );
}

/// Ends the life, or cannot even record that it ended: a journal without
/// sectors enough. Then the keys and the data are gone all the same, and the
/// device never says `Clean`.
fn ended_or_dead(life: &mut Life) {
    match life.end() {
        End::Never(Some(Error::WornOut)) => {
            life.dead();
            life.boot(|_, agent, _| {
                let state = agent.state();
                assert!(
                    matches!(state, State::Wiping | State::Locked(_)),
                    "{state:?}"
                );
            });
        }
        end => assert!(
            !matches!(end, End::Never(_)),
            "the wipe never ends: {end:?}"
        ),
    }
}

fn nothing_silent(life: &Life) {
    assert_eq!(life.tally.silent, Vec::<String>::new());
}

/// The logical sector of a region of `size` bytes.
fn sector_of(life: &Life, size: u32) -> u32 {
    let g = life.bench.hw.chip().spec().geometry;
    nrd_hal::layout::logical_sector(&nrd_hal::Geometry { size, ..g })
}

#[test]
fn cells_stuck_in_the_vault_are_reported_in_the_receipt() {
    lives("stuck in the vault", 6, |life, draws| {
        life.lenient();
        let layout = life.layout();
        for _ in 0..1 + draws.below(3) {
            let at = layout.vault_start + draws.below(u64::from(layout.vault_size)) as u32;
            let (bit, high) = (draws.below(8), draws.below(2) == 1);
            life.bench.hw.chip().stick(at, 1 << bit, high);
        }
        life.go_on(4);
        ended(life);
    });
}

#[test]
fn attack_19_a_cell_stuck_at_0_in_the_vault_or_a_slot_is_never_clean() {
    lives("stuck at 0", 6, |life, draws| {
        let layout = life.layout();
        let at = match draws.below(2) {
            0 => layout.vault_start + draws.below(u64::from(layout.vault_size)) as u32,
            _ => {
                let slot = layout.slot_start + layout.slot_size * draws.below(2) as u32;
                slot + draws.below(256) as u32
            }
        };
        life.bench.hw.chip().stick(at, 1, false);
        life.go_on(2);
        assert_eq!(wiped(life), End::Failed);
    });
}

#[test]
fn cells_stuck_in_the_journal_stop_no_wipe() {
    lives("stuck in the journal", 6, |life, draws| {
        let layout = life.layout();
        for _ in 0..1 + draws.below(3) {
            let at = layout.journal_start + draws.below(u64::from(layout.journal_size)) as u32;
            let (bit, high) = (draws.below(8), draws.below(2) == 1);
            life.bench.hw.chip().stick(at, 1 << bit, high);
        }
        life.go_on(4);
        ended_or_dead(life);
    });
}

#[test]
fn sectors_that_die_in_service_are_reported_and_never_clean() {
    lives("dying sectors", 9, |life, draws| {
        let layout = life.layout();
        let sector = sector_of(life, layout.vault_size);
        let n = draws.below(u64::from(layout.vault_size / sector)) as u32;
        let from = layout.vault_start + n * sector;
        let how = [Worn::Silent, Worn::Half, Worn::Fails][draws.below(3) as usize];
        let since = life.bench.hw.chip().ops() + draws.below(20);
        let takes = draws.below(2) == 0;
        life.bench
            .hw
            .chip()
            .defects()
            .wear_out(from..from + sector, how, takes, since);
        life.go_on(5);
        ended(life);
    });
}

/// Many sectors, nearly full: each opening empties a member, and a sector that
/// dies takes a member's place.
#[test]
fn a_sector_that_dies_under_a_full_cache_loses_nothing() {
    let base = number("NRD_SEED", 1);
    for n in 0..number("NRD_LIVES", 24) {
        let seed = base.wrapping_mul(1_000_003).wrapping_add(n);
        println!("a full cache: seed {seed}");
        let mut life = Life::new(MANY, seed);
        life.boot(|life, agent, _| life.fill(agent));
        let mut draws = SplitMix(seed ^ 0xFA17);
        let layout = life.layout();
        let sector = sector_of(&life, layout.vault_size);
        let sectors = u64::from(layout.vault_size / sector);
        let from = layout.vault_start + draws.below(sectors) as u32 * sector;
        let since = life.bench.hw.chip().ops() + draws.below(20);
        let mut chip = life.bench.hw.chip();
        // Where it fails while it takes programs the rest of the sector stands.
        let how = [Worn::Silent, Worn::Fails][draws.below(2) as usize];
        chip.defects()
            .wear_out(from..from + sector, how, true, since);
        drop(chip);
        life.go_on(5);
        nothing_silent(&life);
        assert_eq!(life.tally.said, 0, "seed {seed}: values are lost");
        println!("a full cache: {} values right", life.tally.right);
        ended(&mut life);
    }
}

#[test]
fn a_journal_sector_that_dies_stops_no_wipe() {
    lives("a dying journal sector", 9, |life, draws| {
        let layout = life.layout();
        let sector = sector_of(life, layout.journal_size);
        let n = draws.below(u64::from(layout.journal_size / sector)) as u32;
        let from = layout.journal_start + n * sector;
        let how = [Worn::Silent, Worn::Half, Worn::Fails][draws.below(3) as usize];
        let since = life.bench.hw.chip().ops() + draws.below(20);
        life.bench.hw.chip().defects().wear_out(
            from..from + sector,
            how,
            draws.below(2) == 0,
            since,
        );
        life.go_on(5);
        ended_or_dead(life);
    });
}

#[test]
fn a_slot_that_will_not_erase_is_never_clean() {
    lives("a dying slot", 6, |life, draws| {
        let layout = life.layout();
        let n = draws.below(2) as u32;
        let from = layout.slot_start + n * layout.slot_size;
        let range = from..from + layout.slot_size;
        let how = [Worn::Silent, Worn::Half, Worn::Fails][draws.below(3) as usize];
        let since = life.bench.hw.chip().ops() + draws.below(20);
        life.bench
            .hw
            .chip()
            .defects()
            .wear_out(range, how, true, since);
        life.go_on(3);
        ended(life);
    });
}

#[test]
fn single_rotten_bits_in_old_records_lose_nothing_in_silence() {
    lives("single bits of rot", 12, |life, draws| {
        for _ in 0..3 {
            life.go_on(2);
            let layout = life.layout();
            let at = life.written(layout.vault_start..layout.slot_start);
            life.bench.hw.chip().rot(at, 1 << draws.below(8));
        }
        life.go_on(2);
        nothing_silent(life);
        ended(life);
    });
}

#[test]
fn rot_is_bounded_and_a_wipe_still_ends() {
    lives("rot", 12, |life, draws| {
        life.lenient();
        for _ in 0..3 {
            life.go_on(2);
            let size = life.bench.hw.chip().spec().geometry.size;
            for _ in 0..1 + draws.below(24) {
                let at = life.written(0..size);
                life.bench.hw.chip().rot(at, draws.draw() as u8);
            }
        }
        life.go_on(2);
        ended(life);
    });
}

#[test]
fn cells_that_read_differently_at_every_read_are_never_served_nor_clean() {
    lives("unsettled cells", 12, |life, draws| {
        for _ in 0..3 {
            life.go_on(2);
            let size = life.bench.hw.chip().spec().geometry.size;
            for _ in 0..1 + draws.below(6) {
                let at = life.written(0..size);
                life.bench.hw.chip().unsettle(at, 1 << draws.below(8));
            }
        }
        life.go_on(2);
        ended(life);
    });
}

#[test]
fn ecc_errors_are_losses_and_no_failed_boot() {
    lives("ECC errors", 12, |life, draws| {
        life.lenient();
        for _ in 0..2 {
            life.go_on(2);
            let size = life.bench.hw.chip().spec().geometry.size;
            let unit = life.bench.hw.chip().spec().geometry.write_size.max(8);
            let at = life.written(0..size) / unit * unit;
            life.bench.hw.chip().defects().spoil(at..at + unit);
            let _ = draws;
        }
        life.go_on(2);
        ended(life);
    });
}

#[test]
fn a_counter_that_is_worn_out_does_not_stop_a_wipe() {
    lives("a counter at its end", 3, |life, _| {
        life.bench.hw.chip().wear_out_counter(0);
        ended(life);
        life.boot(|_, agent, _| {
            assert_eq!(agent.start_activation(), Err(Error::WornOut));
            assert!(agent.status().worn_out);
        });
    });
}

#[test]
fn a_counter_that_answers_late_stops_nothing() {
    lives("a counter that answers late", 6, |life, draws| {
        let (reads, steps) = (draws.below(12), draws.below(12));
        life.bench.hw.chip().defects().silence_counter(reads, steps);
        ended(life);
    });
}

#[test]
fn a_counter_that_never_answers_opens_nothing_and_stops_no_wipe() {
    lives("a mute counter", 3, |life, _| {
        life.bench
            .hw
            .chip()
            .defects()
            .silence_counter(u64::MAX, u64::MAX);
        life.boot(|_, agent, rest| {
            // The boot asks for as long as it takes, and the device says so.
            assert_eq!(rest, Rest::Error(Error::Hardware));
            assert_eq!(agent.state(), State::Locked(LockReason::NotAnswering));
            let mut out = [0; 512];
            let opened = agent.get(Class::Email, 0, &mut out);
            assert_eq!(opened, Err(Error::Busy));
        });
        println!("a mute counter: a wipe then: {:?}", life.end());
        life.dead();
        life.bench.hw.chip().defects().mend_counter();
        ended(life);
    });
}

#[test]
fn a_counter_whose_steps_never_answer_does_not_stop_a_wipe() {
    lives("a counter that takes no step", 3, |life, _| {
        life.bench.hw.chip().defects().silence_counter(0, u64::MAX);
        ended(life);
    });
}

#[test]
fn a_generator_that_is_dead_repeats_or_is_mute_loses_nothing() {
    for (what, rng) in [
        (
            "a stuck generator",
            (|_| VirtualRng::stuck()) as fn(u64) -> VirtualRng,
        ),
        ("a generator of three words", |seed| {
            VirtualRng::repeating(seed, 3)
        }),
        ("the same draws at each boot", VirtualRng::new),
        ("a mute generator", |_| VirtualRng::mute()),
    ] {
        lives(what, 3, |life, _| {
            life.rng = Some(rng);
            life.go_on(6);
            nothing_silent(life);
            // Without a generator there is no request, and so no delivery.
            assert_eq!(life.end(), End::Clean);
        });
    }
}

/// Every operation of a wipe, and of a boot, stops half way and answers `Ok`.
#[test]
fn attack_19_an_operation_that_stops_half_way_in_silence_is_noticed() {
    let mut struck = 0;
    for (name, chip) in chips() {
        let ops = {
            let mut life = Life::new(chip, 5);
            let from = life.bench.hw.chip().ops();
            assert_eq!(life.end(), End::Clean);
            life.bench.hw.chip().ops() - from
        };
        for n in 0..ops {
            for tear in [FaultMode::Half, FaultMode::NoOp] {
                let mut life = Life::new(chip, 5);
                let at = life.bench.hw.chip().ops() + n;
                println!("{name}: seed 5, operation {at} {tear:?}");
                life.plan(PlannedFault {
                    at,
                    tear,
                    unstable: false,
                });
                ended(&mut life);
                struck += 1;
            }
        }
    }
    println!("{struck} operations stopped half way");
}

/// One rotten byte in the header of the newest sector, each byte in turn.
fn rotten_header(region: usize) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    for (name, chip) in chips() {
        for byte in [0, 4, 8, 20, 30] {
            let mut life = Life::new(chip, 9);
            life.go_on(2);
            let layout = life.layout();
            let tail = life.tails()[region].start;
            let (from, size) = match region {
                0 => (layout.journal_start, layout.journal_size),
                _ => (layout.vault_start, layout.vault_size),
            };
            let sector = sector_of(&life, size);
            let header = from + (tail - from) / sector * sector;
            life.bench.hw.chip().rot(header + byte, 0x10);
            let before = life.clone_told();
            let outcome = life.boot(|_, agent, _| {
                let state = agent.state();
                let stale = before.iter().any(|((class, id), value)| {
                    let mut out = [0; 512];
                    let class = nrd_agent::Class::from_number(*class).expect("a class");
                    let got = agent
                        .get(class, *id, &mut out)
                        .map(|n| Some(out[..n].to_vec()));
                    !matches!(got, Err(Error::Corrupt | Error::WrongState))
                        && got.unwrap_or(None) != *value
                });
                format!(
                    "{state:?}, {}",
                    if stale { "STALE" } else { "right or said" }
                )
            });
            println!("{name}: region {region}, header byte {byte}: {outcome}");
            *seen.entry(outcome).or_default() += 1;
        }
    }
    seen
}

#[test]
fn a_rotten_bit_in_the_header_of_the_newest_sector_brings_no_older_value_back() {
    for region in [0, 1] {
        let seen = rotten_header(region);
        println!("region {region}: {seen:?}");
        let stale = seen.keys().any(|outcome| outcome.contains("STALE"));
        assert!(!stale, "older values are served in silence");
    }
}

#[test]
fn a_write_unit_of_an_eighth_of_a_block_lets_a_wipe_end() {
    let geometry = nrd_hal::Geometry {
        size: 64 * 1024,
        write_size: 256,
        erase_size: 2048,
        best_erase: 2048,
    };
    let chip = ChipSpec {
        geometry,
        can_overwrite: false,
    };
    for seed in 1..6 {
        println!("seed {seed}");
        let mut life = Life::new(chip, seed);
        life.go_on(4);
        ended(&mut life);
    }
}
