//! Prints the tables of `docs/WIRE.md`, made from the declarations of the wire
//! types; `--write` puts them into the page.
//!
//! `cargo run -p nrd-tests --bin wire_tables [-- --write]`

use nrd_tests::wire_tables::{PAGE, Tables, page};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match std::env::args().nth(1).as_deref() {
        None => {
            print!("{}", Tables::read(&root).markdown());
            Ok(())
        }
        Some("--write") => std::fs::write(root.join(PAGE), page(&root)),
        Some(other) => Err(std::io::Error::other(format!(
            "{other} is not known here: give --write, or nothing"
        ))),
    }
}
