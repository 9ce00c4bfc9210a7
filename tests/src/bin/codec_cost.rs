//! Prints what the agent's own codec costs on a Cortex-M33, and what serde with
//! postcard would: the reason for having one (`docs/DEPENDENCIES.md`).

use nrd_tests::footprint::{measure, panic_sites};
use nrd_tests::m33::build_in;

fn main() {
    let Some(images) = build_in("codec", "the codec's cost") else {
        return;
    };
    println!("| image: the codec of every frame and record | text, bytes | panic sites |");
    println!("|---|---|---|");
    let mut details = String::new();
    for name in ["own", "postcard", "postcard-strict"] {
        let image = images.join(name);
        let sites = panic_sites(&image);
        println!("| {name} | {} | {} |", measure(&image).text, sites.len());
        for (from, to) in sites {
            details += &format!("\n{name}: {from} -> {to}");
        }
    }
    println!("{details}");
}
