//! The protocol's model, every interleaving within small bounds; and each rule
//! dropped in turn, with the property that then fails.
//! `cargo run --release -p nrd-tests --bin model` looks further.

use nrd_tests::model::{Bounds, Protocol, Without};
use stateright::{Checker, HasDiscoveries, Model};

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
    let [small, long] = [Bounds::SMALL, Bounds::LONG].map(|b| fails(b, None, None));
    // Nothing that must hold fails, and each run reaches what the other cannot.
    assert_eq!(small, ["the dead-man wipes"], "two owners");
    assert_eq!(
        long,
        ["a fork is found out", "a second owner is served"],
        "one owner, longer"
    );
}

#[test]
fn each_rule_is_needed_by_a_promise() {
    for (rule, promise) in [
        (
            Without::TombstoneFirst,
            "1: nothing is served after a tombstone",
        ),
        (Without::Counter, "1: nothing is served after a tombstone"),
        (
            Without::ActivationId,
            "4: only an order for this activation destroys",
        ),
        (Without::ReceiptKept, "6: every removal ends proven"),
        (Without::Proof, "what is called proven is wiped"),
        (Without::SignedAgain, "6: every removal ends proven"),
        (Without::PersistFirst, "an honest device is no thief"),
        (Without::TheftRule, "a retired token opens nothing"),
    ] {
        let failed = fails(Bounds::SMALL, Some(rule), Some(promise));
        assert!(
            failed.contains(&promise),
            "without {rule:?}: only {failed:?} fails"
        );
    }
}
