//! A full cache: refused as full, never lost, and emptied again.

use nrd_agent::{Class, Error, State};
use nrd_sim::device::{TestBench, settle, talk};
use nrd_sim::explorer::NAMED;
use nrd_sim::hw::{Chip, Hardware};

#[test]
fn a_cache_that_is_full_can_be_emptied_and_filled_again() {
    for named in NAMED {
        for len in [1, 40, 300] {
            let hw = Hardware::new(Chip::new(named.chip, 3));
            let mut bench = TestBench::new(hw.clone(), 3);
            let (filled, erases) = bench.boot(|service, agent| {
                agent.start_activation().unwrap();
                talk(service, agent).unwrap();
                assert_eq!(agent.state(), State::Active);
                let mut rounds = Vec::new();
                let mut erases = 0;
                for round in 0..2u8 {
                    let mut filled = 0;
                    loop {
                        let value = vec![round ^ filled as u8; len];
                        match agent.put(Class::Profiles, filled, &value) {
                            Ok(()) => filled += 1,
                            Err(Error::Full) => break,
                            Err(e) => panic!("{} {len} B, value {filled}: {e:?}", named.name),
                        }
                        settle(agent).unwrap();
                    }
                    let mut out = [0; 512];
                    for id in 0..filled {
                        let n = agent.get(Class::Profiles, id, &mut out).unwrap();
                        assert_eq!(out[..n], vec![round ^ id as u8; len][..]);
                    }
                    let before: u32 = hw.chip().wear().iter().sum();
                    for id in 0..filled {
                        agent.remove(Class::Profiles, id).unwrap_or_else(|e| {
                            panic!("{} {len} B, {id} of {filled}: {e:?}", named.name)
                        });
                        settle(agent).unwrap();
                    }
                    erases += hw.chip().wear().iter().sum::<u32>() - before;
                    rounds.push(filled);
                }
                assert_eq!(rounds[0], rounds[1], "{} {len} B", named.name);
                (rounds[0], erases)
            });
            println!(
                "{:20} {len:3} B: {filled} values, {erases} erases to remove them",
                named.name
            );
            assert!(filled > 0);
        }
    }
}
