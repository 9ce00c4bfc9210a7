//! The accessibility check of axe-core, where it is installed: `NRD_AXE` names
//! its `axe.min.js`. It is a tool of the tests and no part of the project.

use fantoccini::Client;
use serde_json::{Value, json};
use std::sync::Once;

/// Findings of these kinds fail a test.
const SERIOUS: [&str; 2] = ["serious", "critical"];

/// Checks the page that is open.
pub(crate) async fn check(client: &Client, what: &str) {
    let Some(path) = std::env::var_os("NRD_AXE") else {
        static SAID: Once = Once::new();
        assert!(
            std::env::var_os("NRD_REQUIRE_ALL").is_none(),
            "axe-core is required, but NRD_AXE names none"
        );
        SAID.call_once(|| {
            println!(
                "SKIPPED: NRD_AXE names no axe.min.js; accessibility was NOT checked by axe-core"
            );
        });
        return;
    };
    let source = std::fs::read_to_string(&path).expect("NRD_AXE names a file");
    client.execute(&source, vec![]).await.unwrap();
    let run = "const done = arguments[arguments.length - 1];
        axe.run(document, { resultTypes: ['violations'] }).then(
          (r) => done(r.violations.map((v) => ({ id: v.id, impact: v.impact, help: v.help,
            at: v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160)) }))),
          (e) => done([{ id: 'axe failed', impact: 'critical', help: String(e), at: [] }]));";
    let found = client.execute_async(run, vec![]).await.unwrap();
    let serious: Vec<&Value> = found
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| SERIOUS.iter().any(|s| v["impact"] == *s))
        .collect();
    assert!(serious.is_empty(), "{what}: {}", json!(serious));
}
