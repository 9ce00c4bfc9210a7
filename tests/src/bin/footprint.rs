//! Prints what the agent costs on a Cortex-M33: `docs/reports/FOOTPRINT.md` holds it.

use nrd_tests::external_tools::have;
use nrd_tests::footprint::measure;
use nrd_tests::m33;

fn main() {
    let what = "the footprint";
    let Some(images) = m33::build(what) else {
        return;
    };
    let product = measure(&images.product);
    println!("| what | bytes |");
    println!("|---|---|");
    println!("| product image, text | {} |", product.text);
    for (origin, bytes) in &product.by_origin {
        println!("| of it: {} | {bytes} |", origin.words());
    }
    println!(
        "| product image, static RAM (the mailbox) | {} |",
        product.ram
    );
    println!(
        "| panic sites reachable from the agent's functions | {} |",
        product.panics.len()
    );
    if have("qemu-system-arm", "the stack measurement") {
        let (text, ok) = m33::run(&images);
        let last = text.lines().last().unwrap_or_default();
        let result: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
        assert!(ok, "the lives fail: {text}");
        let n = |name: &str| result[name].as_u64().unwrap_or_default();
        let (stack, agent) = (n("agent_stack_bytes"), n("agent_bytes"));
        println!("| deepest stack of a call into the agent, over a life | {stack} |");
        println!("| the agent itself | {agent} |");
        println!("| memory lent to it | {} |", m33::LENT_BYTES);
        println!(
            "| stack and RAM together | {} |",
            stack + agent + m33::LENT_BYTES
        );
        println!("| heap | 0 |");
    }
    println!("| longest frame | {} |", nrd_agent::wire::MAX_FRAME);
    println!("\nThe agent's code by source file:\n");
    println!("| bytes | file |");
    println!("|---|---|");
    for (size, file) in product.by_file.iter().filter(|(size, _)| *size >= 100) {
        println!("| {size} | `{file}` |");
    }
}
