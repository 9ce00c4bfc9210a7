//! The protocol's model, every interleaving within small bounds; and each rule
//! dropped in turn, with the property that then fails.
//! `cargo run --release -p nrd-tests --bin model` looks further.

use nrd_tests::model::{Bounds, Protocol, Without};
use stateright::{Checker, HasDiscoveries, Model};

/// Properties that say that something can be reached at all.
const REACHABLE: [&str; 6] = [
    "an order wipes and is proven",
    "a fork is found out",
    "the dead-man wipes",
    "a second owner is served",
    "a failed wipe is reported",
    "an unwritable journal closes",
];

/// Names of the properties that fail; looks no further once `until` does.
fn fails(
    bounds: Bounds,
    without: Option<Without>,
    until: Option<&'static str>,
) -> Vec<&'static str> {
    let protocol = Protocol { bounds, without };
    let mut builder = protocol.checker().threads(2);
    if let Some(promise) = until {
        builder = builder.finish_when(HasDiscoveries::AnyOf([promise].into()));
    }
    let checker = builder.spawn_bfs().join();
    println!(
        "without {without:?}: {} different states, depth {}",
        checker.unique_state_count(),
        checker.max_depth()
    );
    let properties = checker.model().properties().into_iter();
    properties
        .filter(|p| {
            let found = checker.discovery(p.name);
            let sought = matches!(p.expectation, stateright::Expectation::Sometimes);
            if let (Some(path), false) = (&found, sought) {
                println!("  {}: {:?}", p.name, path.clone().into_actions());
            }
            sought != found.is_some()
        })
        .map(|p| p.name)
        .collect()
}

#[test]
fn the_promises_hold_in_every_interleaving() {
    let runs = Bounds::TESTED.map(|(name, bounds)| {
        println!("{name}");
        fails(bounds, None, None)
    });
    for (run, (name, _)) in runs.iter().zip(Bounds::TESTED) {
        let broken = run.iter().filter(|p| !REACHABLE.contains(p));
        assert_eq!(broken.collect::<Vec<_>>(), Vec::<&&str>::new(), "{name}");
    }
    // What must be reachable at all is reached in one of the runs.
    let never = |p: &&str| runs.iter().all(|run| run.contains(p));
    let never = REACHABLE.into_iter().filter(never);
    assert_eq!(never.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn each_rule_is_needed_by_a_promise() {
    let one = "1: nothing is served after a tombstone";
    let six = "6: every removal ends proven, failed or pending";
    for (rule, bounds, promise) in [
        (Without::TombstoneFirst, Bounds::CUTS, one),
        (Without::Counter, Bounds::IMAGES, one),
        (
            Without::ActivationId,
            Bounds::OWNERS,
            "4: only an order for this activation destroys",
        ),
        (Without::ReceiptKept, Bounds::OWNERS, six),
        (
            Without::Proof,
            Bounds::OWNERS,
            "what is called proven is wiped",
        ),
        (Without::SignedAgain, Bounds::OWNERS, six),
        (
            Without::PersistFirst,
            Bounds::CUTS,
            "an honest device is no thief",
        ),
        (
            Without::TheftRule,
            Bounds::IMAGES,
            "a retired token opens nothing",
        ),
        (
            Without::CloseFirst,
            Bounds::OWNERS,
            "no key outlives its closing",
        ),
    ] {
        let failed = fails(bounds, Some(rule), Some(promise));
        assert!(
            failed.contains(&promise),
            "without {rule:?}: only {failed:?} fails"
        );
    }
}
