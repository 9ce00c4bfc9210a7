//! Explores the protocol's model: `cargo run --release -p nrd-tests --bin model
//! -- [owners cuts renewals restores rotations ticks faults people]`. Exit status 1
//! when a property fails.

use nrd_tests::model::{Bounds, DEVICE, Protocol};
use stateright::{Checker, Model};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Result<Vec<u8>, _> = words.iter().map(|w| w.parse::<u8>()).collect();
    let bounds = match numbers.as_deref() {
        Ok([]) => Bounds::LARGE,
        Ok(
            &[
                owners,
                cuts,
                renewals,
                restores,
                rotations,
                ticks,
                faults,
                people,
            ],
        ) => Bounds {
            owners,
            cuts,
            renewals,
            restores,
            rotations,
            ticks,
            faults,
            people,
        },
        _ => {
            eprintln!(
                "give eight numbers from 0 to 255, or none: owners cuts renewals restores rotations \
                 ticks faults people"
            );
            return ExitCode::from(2);
        }
    };
    println!("{bounds:?}, the device is {DEVICE}");
    let protocol = Protocol {
        bounds,
        without: None,
    };
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    let mut good = true;
    for p in checker.model().properties() {
        let found = checker.discovery(p.name);
        let sought = matches!(p.expectation, stateright::Expectation::Sometimes);
        let says = match (sought, &found) {
            (true, Some(_)) => "reached",
            // Other bounds reach it: the tests hold that.
            (true, None) => "not reached within these bounds:",
            (false, None) => "holds ",
            (false, Some(_)) => "FAILS ",
        };
        println!("{says} {}", p.name);
        if let (false, Some(path)) = (sought, found) {
            good = false;
            println!("    {:?}", path.into_actions());
        }
    }
    ExitCode::from(u8::from(!good))
}
