//! The tables of calls in SPEC §7, cell by cell, and what holds in every cell.
//!
//! `NRD_PRINT=1 cargo test -p nrd-agent --test calls -- --nocapture` prints the
//! tables that the agent keeps now.

#[path = "../common/mod.rs"]
mod common;
mod each;
mod faults;
mod phases;
mod rules;
mod table;

use common::Bench;
use each::{CALLS, Call, NOT_IN_TABLE, refusal, word};
use faults::{FAULTS, Fault, HOMES};
use nrd_agent::State;
use phases::{PHASES, Phase};
use table::Table;

const SPEC: &str = include_str!("../../../docs/SPEC.md");

/// Makes the call; the words of its cell.
fn cell(call: &Call, bench: &mut Bench) -> String {
    let before = bench.state();
    let made = (call.make)(bench);
    let after = bench.state();
    let outcome = match made {
        Ok("done") if before == State::Booting && call.name == "`deactivate`" => "noted",
        Ok(word) => word,
        Err(e) => refusal(e).unwrap_or_else(|| {
            // An error of a part: what closes has closed, what opens has not.
            assert!(after == before || after != State::Active, "opened by {e:?}");
            if after == before {
                "unchanged, error"
            } else {
                "closed, error"
            }
        }),
    };
    if after == before {
        outcome.into()
    } else {
        format!("{outcome} → {}", word(after))
    }
}

/// A device in this phase.
fn brought(phase: &Phase) -> Bench {
    let mut bench = (phase.bring)();
    assert_eq!(bench.state(), phase.state, "phase {}", phase.name);
    bench
}

fn phase(name: &str) -> &'static Phase {
    PHASES.iter().find(|p| p.name == name).expect("a phase")
}

fn call(name: &str) -> &'static Call {
    CALLS.iter().find(|c| c.name == name).expect("a call")
}

/// A device in this phase, with a part out of order.
fn broken(phase: &Phase, fault: &Fault) -> Bench {
    let bench = brought(phase);
    (fault.set)(&bench);
    bench
}

/// Holds the agent's cells against SPEC's; prints them when asked.
fn compare(marker: &str, columns: &[&str], rows: &[(String, Vec<String>)]) {
    if std::env::var_os("NRD_PRINT").is_some() {
        println!("{marker}\n| call | {} |", columns.join(" | "));
        println!("|---|{}", "---|".repeat(columns.len()));
        for (name, cells) in rows {
            println!("| {name} | {} |", cells.join(" | "));
        }
        println!("{marker}");
    }
    let table = Table::between(SPEC, marker);
    assert_eq!(table.columns, columns, "columns of SPEC §7");
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(table.rows(), names, "rows of SPEC §7");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (name, cells) in rows {
        for (column, seen) in columns.iter().zip(cells) {
            let said = table.cell(name, column);
            if said != seen {
                wrong.push(format!(
                    "{name} × {column}: SPEC says {said}, and it is {seen}"
                ));
            }
            checked += 1;
        }
    }
    println!("{checked} cells");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn attack_40_each_call_in_each_phase_ends_as_the_table_says() {
    let columns: Vec<&str> = PHASES.iter().map(|p| p.name).collect();
    let rows: Vec<_> = CALLS
        .iter()
        .map(|call| {
            let cells = PHASES.iter().map(|p| cell(call, &mut brought(p)));
            (call.name.to_owned(), cells.collect())
        })
        .collect();
    compare("<!-- calls x phases -->", &columns, &rows);
}

#[test]
fn attack_40_each_call_with_a_part_that_does_not_answer_ends_as_the_table_says() {
    let columns: Vec<&str> = FAULTS.iter().map(|f| f.name).collect();
    let rows: Vec<_> = HOMES
        .iter()
        .map(|(name, home)| {
            let cells = FAULTS
                .iter()
                .map(|f| cell(call(name), &mut broken(phase(home), f)));
            (format!("{name}, {home}"), cells.collect())
        })
        .collect();
    compare("<!-- calls x faults -->", &columns, &rows);
}

/// Every word of the tables is defined above them, and every call has a row.
#[test]
fn every_word_is_defined_and_every_public_call_has_a_row() {
    let section = SPEC.split("### Calls").nth(1).expect("SPEC §7, Calls");
    let (words, tables) = section
        .split_once("<!-- calls x phases -->")
        .expect("a table");
    let tables = tables.split("\n## ").next().expect("this section");
    for line in tables.lines().filter(|l| l.starts_with("| `")) {
        for cell in line.trim_matches('|').split('|').skip(1) {
            let (outcome, _) = cell.split_once('→').unwrap_or((cell, ""));
            let outcome = outcome.trim();
            let defined = words.contains(&format!("- *{outcome}*: "));
            assert!(defined, "SPEC does not define the outcome {outcome:?}");
        }
    }
    let sources = [
        include_str!("../../src/agent/mod.rs"),
        include_str!("../../src/agent/cache.rs"),
        include_str!("../../src/agent/calls.rs"),
        include_str!("../../src/agent/exchange.rs"),
        include_str!("../../src/agent/storage_check.rs"),
        include_str!("../../src/agent/orders.rs"),
        include_str!("../../src/agent/receipt.rs"),
        include_str!("../../src/agent/run.rs"),
    ];
    let mut seen = 0;
    for line in sources.iter().flat_map(|s| s.lines()) {
        let Some(rest) = line.strip_prefix("    pub fn ") else {
            continue;
        };
        let name = rest.split('(').next().expect("a name");
        let row = CALLS.iter().any(|c| c.name.contains(&format!("`{name}`")));
        let exempt = NOT_IN_TABLE.contains(&name);
        assert!(row != exempt, "`{name}` has no row in SPEC §7");
        seen += 1;
    }
    assert!(seen > 25, "{seen} public calls found");
}
