//! What each step of a wipe does to the part, counted.

use nrd_agent::wire::{Method, Receipt, SectorCounts, peek};
use nrd_agent::{Agent, Class, Error, State, Step};
use nrd_hal::Geometry;
use nrd_hal::layout::Layout;
use nrd_sim::device::{AgentBuffers, TestBench, settle, talk};
use nrd_sim::hw::{Board, Chip, ChipSpec, FaultMode, Hardware, OpKind, PlannedFault, Worn};

/// One step of a wipe erases this much where the part has no larger block.
const BLOCK: u32 = 2048;
/// A resumed wipe erases so many blocks twice.
const TWICE: usize = 17;
/// Progress is stored after so many blocks.
const STORED: usize = 16;

/// An active device on a part of 48 blocks, each of several erase units.
fn active(seed: u64, erase_size: u32, can_overwrite: bool) -> TestBench {
    println!("seed {seed}");
    let spec = ChipSpec {
        geometry: Geometry {
            size: 48 * BLOCK,
            write_size: 4,
            erase_size,
            best_erase: erase_size,
        },
        can_overwrite,
    };
    let mut bench = TestBench::new(Hardware::new(Chip::new(spec, seed)), seed);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        agent.put(Class::Email, 0, b"holder@example.org").unwrap();
    });
    bench
}

fn layout(bench: &TestBench) -> Layout {
    Layout::plan(&bench.hw.chip().spec().geometry).unwrap()
}

/// How often each block from `start` on was erased since operation `since`.
fn erases(bench: &TestBench, start: u32, size: u32, since: u64) -> Vec<u32> {
    let mut blocks = vec![0; size.div_ceil(BLOCK) as usize];
    for op in &bench.hw.chip().trace()[since as usize..] {
        if op.kind == OpKind::Erase && (start..start + size).contains(&op.at) {
            blocks[((op.at - start) / BLOCK) as usize] += 1;
        }
    }
    blocks
}

fn vault_erases(bench: &TestBench, since: u64) -> Vec<u32> {
    let l = layout(bench);
    erases(bench, l.vault_start, l.vault_size, since)
}

fn slot_erases(bench: &TestBench, since: u64) -> [u32; 2] {
    let l = layout(bench);
    [0, 1].map(|n| {
        let start = l.slot_start + n * l.slot_size;
        erases(bench, start, l.slot_size, since).iter().sum()
    })
}

fn counter_steps(bench: &TestBench, since: u64) -> usize {
    let chip = bench.hw.chip();
    let ops = chip.trace()[since as usize..].iter();
    ops.filter(|o| o.kind == OpKind::Count).count()
}

fn ops(bench: &TestBench) -> u64 {
    bench.hw.chip().ops()
}

/// Steps until the wipe has handled `n` sectors of the vault.
fn wipe_until(agent: &mut Agent<'_, Board>, n: u32) {
    while agent.status().wipe.is_some_and(|(done, _)| done < n) {
        agent.step().unwrap();
    }
    assert_eq!(agent.state(), State::Wiping);
}

fn wiped(bench: &mut TestBench, then: State) {
    bench.boot(|_, agent| {
        if agent.state() == State::Active {
            agent.deactivate().unwrap();
        }
        settle(agent).unwrap();
        assert_eq!(agent.state(), then);
    });
}

/// What the newest receipt says: how, and of how many sectors.
fn receipt(bench: &mut TestBench) -> (Method, SectorCounts) {
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        let frame = service.receipts.last().unwrap();
        let r: Receipt<'_> = peek(frame).unwrap();
        (r.method, r.sectors)
    })
}

#[test]
fn the_call_that_begins_a_wipe_kills_the_keys_before_any_step() {
    let mut bench = active(201, BLOCK, true);
    let l = layout(&bench);
    bench.boot(|_, agent| agent.deactivate().unwrap());
    let chip = bench.hw.chip();
    assert_eq!(chip.counter(), 1, "the counter is raised");
    let slot = |n: u32| &chip.cells()[(l.slot_start + n * l.slot_size) as usize..][..256];
    assert!(slot(0).iter().all(|&b| b == 0), "the slot is zeroed");
    assert!(
        slot(1).iter().all(|&b| b == 0xFF),
        "the blank one is spared"
    );
}

#[test]
fn a_wipe_takes_one_step_of_the_counter_wherever_it_is_cut() {
    for done in [0, 1] {
        let mut bench = active(202, BLOCK, false);
        bench.boot(|_, agent| {
            agent.deactivate().unwrap();
            wipe_until(agent, done);
        });
        wiped(&mut bench, State::Clean);
        assert_eq!(bench.hw.chip().counter(), 1);
        assert_eq!(counter_steps(&bench, 0), 1, "cut after {done} sectors");
    }
}

#[test]
fn a_wipe_in_one_go_erases_each_slot_and_each_block_once() {
    let mut bench = active(203, BLOCK, false);
    let since = bench.boot(|_, agent| {
        let since = agent.platform().with_chip(|c| c.ops());
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        since
    });
    assert!(vault_erases(&bench, since).iter().all(|&n| n == 1));
    assert_eq!(slot_erases(&bench, since), [1, 1]);
}

#[test]
fn a_resumed_wipe_erases_the_slots_and_the_first_17_blocks_twice() {
    let mut bench = active(204, BLOCK, false);
    bench.boot(|_, agent| agent.deactivate().unwrap());
    let since = ops(&bench);
    wiped(&mut bench, State::Clean);
    let blocks = vault_erases(&bench, since);
    assert!(blocks.len() > 2 * TWICE, "enough blocks to tell");
    assert_eq!(blocks[..TWICE], [2; TWICE]);
    assert!(blocks[TWICE..].iter().all(|&n| n == 1), "{blocks:?}");
    assert_eq!(slot_erases(&bench, since), [2, 2]);
}

#[test]
fn a_wipe_cut_in_the_vault_goes_on_where_progress_was_stored() {
    let mut bench = active(205, BLOCK, false);
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        wipe_until(agent, 20);
    });
    let since = ops(&bench);
    wiped(&mut bench, State::Clean);
    let blocks = vault_erases(&bench, since);
    assert_eq!(blocks[..STORED], [0; STORED]);
    assert_eq!(blocks[STORED..STORED + TWICE], [2; TWICE]);
    let (method, sectors) = receipt(&mut bench);
    assert_eq!(method, Method::Purge);
    assert_eq!(sectors.erased, sectors.total);
}

#[test]
fn a_resumed_wipe_raises_the_counter_that_a_cut_kept_down_and_says_no_error() {
    let bench = active(206, BLOCK, false);
    let from = ops(&bench);
    let mut struck = false;
    for at in from..from + 20 {
        let mut bench = bench.fork();
        let fault = PlannedFault {
            at,
            tear: FaultMode::Nothing,
            unstable: false,
        };
        let board = bench.board();
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(board, bench.config(), ram.lend()).unwrap();
        settle(&mut agent).unwrap();
        bench.hw.chip().plan(Some(fault));
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a part that fails: what is asked for comes below"
        )]
        let _ = agent.deactivate();
        drop(agent);
        let hit = bench.hw.chip().struck();
        if hit.is_none_or(|o| o.kind != OpKind::Count) {
            continue;
        }
        struck = true;
        assert_eq!(bench.hw.chip().counter(), 0);
        bench.power_on(at);
        let board = bench.board();
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(board, bench.config(), ram.lend()).unwrap();
        while agent.step().unwrap() != Step::Idle {}
        assert_eq!(agent.state(), State::Clean);
        assert_eq!(bench.hw.chip().counter(), 1);
    }
    assert!(struck, "no cut met the counter's step");
}

#[test]
fn a_counter_that_does_not_step_is_asked_eight_times() {
    let mut bench = active(207, BLOCK, false);
    bench.hw.chip().defects().silence_counter(0, u64::MAX);
    let since = ops(&bench);
    wiped(&mut bench, State::Clean);
    assert_eq!(counter_steps(&bench, since), 8);
    bench.boot(|_, agent| {
        assert!(agent.status().worn_out);
        assert_eq!(agent.start_activation(), Err(Error::WornOut));
    });
}

#[test]
fn a_worn_out_counter_is_asked_once_and_the_device_stays_worn_out() {
    let mut bench = active(208, BLOCK, false);
    bench.hw.chip().wear_out_counter(0);
    let since = ops(&bench);
    wiped(&mut bench, State::Clean);
    assert_eq!(counter_steps(&bench, since), 1);
    bench.boot(|_, agent| assert!(agent.status().worn_out));
}

#[test]
fn a_slot_that_reads_otherwise_at_the_end_is_effaced_again() {
    for n in [0, 1] {
        let mut bench = active(209, BLOCK, false);
        let l = layout(&bench);
        bench.boot(|_, agent| {
            agent.deactivate().unwrap();
            let (_, total) = agent.status().wipe.unwrap();
            wipe_until(agent, total);
            agent
                .platform()
                .with_chip(|c| c.rot(l.slot_start + n * l.slot_size, 1));
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::Clean);
            assert!(agent.is_clean(), "slot {n}");
        });
        let (method, sectors) = receipt(&mut bench);
        assert_eq!(method, Method::Purge, "slot {n}");
        assert_eq!(sectors.erased, sectors.total, "slot {n}");
    }
}

#[test]
fn what_will_not_erase_is_counted_by_itself_and_programmed_to_zero_where_it_can_be() {
    for can_overwrite in [true, false] {
        let mut bench = active(210, 512, can_overwrite);
        let stuck = (layout(&bench).vault_start + 21 * 512 + 100) as usize;
        bench.hw.chip().stick(stuck as u32, 1, false);
        wiped(&mut bench, State::WipeFailed);
        let (method, sectors) = receipt(&mut bench);
        assert_eq!(method, Method::Failed);
        assert_eq!(sectors.failed, 1);
        assert_eq!(sectors.erased, sectors.total - 1);
        let chip = bench.hw.chip();
        let unit = |n: usize| &chip.cells()[(stuck - 100) + n * 512 - 512..][..512];
        let rest = if can_overwrite { 0 } else { 0xFF };
        assert!((0..512).all(|i| unit(1)[i] == if i == 100 { rest & 0xFE } else { rest }));
        assert_eq!([unit(0), unit(2)], [[0xFF; 512]; 2], "its neighbours");
    }
}

#[test]
fn a_slot_whose_erase_fails_is_not_called_blank_however_it_reads() {
    let mut bench = active(211, BLOCK, false);
    let l = layout(&bench);
    let since = ops(&bench);
    let blank = l.slot_start + l.slot_size..l.slot_start + 2 * l.slot_size;
    let mut chip = bench.hw.chip();
    chip.defects().wear_out(blank, Worn::Fails, true, since);
    drop(chip);
    wiped(&mut bench, State::WipeFailed);
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        let r: Receipt<'_> = peek(service.receipts.last().unwrap()).unwrap();
        assert_eq!((r.method, r.flags.slots_blank), (Method::Failed, false));
    });
}

#[test]
fn the_progress_of_a_wipe_counts_what_will_not_erase_as_well() {
    let mut bench = active(212, BLOCK, false);
    let l = layout(&bench);
    for sector in [0, 3] {
        bench
            .hw
            .chip()
            .stick(l.vault_start + sector * BLOCK, 1, false);
    }
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        let mut seen = vec![0];
        let mut of = 0;
        while let Some((done, total)) = agent.status().wipe {
            of = total;
            if seen.last() != Some(&done) {
                seen.push(done);
            }
            agent.step().unwrap();
        }
        assert_eq!(seen, (0..=of).collect::<Vec<_>>(), "a block a step");
    });
}

/// What stands in this process's memory from `at` on, lent or not.
#[cfg(target_os = "linux")]
fn memory(at: usize, length: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; length];
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut bytes, at as u64).unwrap();
    bytes
}

#[cfg(target_os = "linux")]
#[test]
fn from_the_moment_a_wipe_is_committed_the_agents_own_memory_opens_nothing() {
    use nrd_agent::Memory;
    use nrd_agent::agent::JOURNAL_RECORDS;
    use nrd_agent::log::Entry;
    use nrd_hal::Crypto as _;
    use nrd_hal::crypto::RingCrypto;
    use nrd_sim::forensics::inspect::class_key;
    use nrd_sim::hw::RootKey;

    let mut bench = active(213, BLOCK, false);
    // Everything that opens the account, from the root and the flash.
    let at = layout(&bench).slot_start as usize;
    let slot = bench.hw.chip().cells()[at..at + 256].to_vec();
    let secret = &slot[32..64];
    let base = RootKey::derive_any(&bench.root, b"nrd/1/vault", Some(0));
    let activation = RingCrypto::hkdf(
        &bench.service.activation_id().0,
        &[&base[..], secret].concat(),
        &[b"nrd/1/activation"],
    );
    let class = |class: Class| {
        let at = 64 + 20 * class as usize;
        let (generation, salt) = (&slot[at..at + 4], &slot[at + 4..at + 20]);
        class_key(&activation, class as u8, generation, salt)
    };
    let secrets = [
        ("activation secret", secret.to_vec()),
        ("activation key", activation.to_vec()),
        ("session key", class(Class::Session).to_vec()),
        ("e-mail key", class(Class::Email).to_vec()),
        ("token", bench.service.present_token(1).to_vec()),
        ("e-mail", b"holder@example.org".to_vec()),
    ];
    let found = |bytes: &[u8]| -> Vec<&str> {
        let stands = |secret: &[u8]| bytes.windows(secret.len()).any(|w| w == secret);
        let found = secrets.iter().filter(|(_, secret)| stands(secret));
        found.map(|(name, _)| *name).collect()
    };

    let (mut tables, mut indices) = ([[0; 64]; 2], [0; 2].map(|_| vec![Entry::default(); 64]));
    let [journal_table, vault_table] = &mut tables;
    let [journal_index, vault_index] = &mut indices;
    let mut scratch = vec![0; 2048];
    let lent = (scratch.as_ptr().addr(), scratch.len());
    let memory_lent = Memory {
        journal_table,
        journal_index: &mut journal_index[..JOURNAL_RECORDS],
        vault_table,
        vault_index,
        scratch: &mut scratch,
    };
    let mut agent = Agent::new(bench.board(), bench.config(), memory_lent).unwrap();
    settle(&mut agent).unwrap();
    let own = (
        std::ptr::from_ref(&agent).addr(),
        std::mem::size_of_val(&agent),
    );
    let all = || [memory(own.0, own.1), memory(lent.0, lent.1)].concat();
    agent.get(Class::Email, 0, &mut [0; 64]).unwrap();
    let before = found(&all());
    assert_eq!(before, secrets.each_ref().map(|(name, _)| *name));

    agent.deactivate().unwrap();
    assert_eq!(agent.state(), State::Wiping);
    assert!(memory(lent.0, lent.1).iter().all(|&b| b == 0));
    while agent.state() == State::Wiping {
        assert_eq!(found(&all()), Vec::<&str>::new());
        agent.step().unwrap();
    }
    assert!(agent.is_clean());
    assert_eq!(found(&all()), Vec::<&str>::new());
}
