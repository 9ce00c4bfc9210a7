//! `docs/WIRE.md` says of every frame what the declarations say.

use nrd_agent::state::{Snapshot, Tombstone};
use nrd_agent::wire::codec::Bounded;
use nrd_agent::wire::storage::{DeskMessage, DeviceMessage};
use nrd_agent::wire::{
    Delegation, DeviceKind, EndReason, Grant, Lease, LockReason, MakerCertificate, Method, Order,
    OrderKind, OrderOutcome, OrderResult, Receipt, RefusalCode, Reply, Request, RootChange,
    Statement, WipeReason,
};
use nrd_tests::wire_tables::{PAGE, Tables, page};
use std::path::Path;

#[test]
fn the_page_of_the_wire_is_what_the_declarations_make_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kept = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let made = page(&root);
    let differs = kept
        .lines()
        .zip(made.lines())
        .find(|(kept, made)| kept != made);
    assert!(
        kept == made,
        "{PAGE} is not what the declarations make: run `cargo run -p nrd-tests --bin \
         wire_tables -- --write`, and say in CHANGELOG.md what changed. First line that \
         differs: {differs:?}"
    );
}

/// The page reads declarations as text; the codec, as the compiler does.
#[test]
fn the_page_counts_as_the_codec_does() {
    let tables = Tables::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    macro_rules! same {
        ($($t:ident)*) => {$(
            assert_eq!(tables.longest(stringify!($t)), $t::MAX_LEN, stringify!($t));
        )*};
    }
    same!(Request Reply MakerCertificate RootChange Delegation Order OrderOutcome Grant Lease);
    same!(Statement Receipt DeskMessage DeviceMessage Snapshot Tombstone);
}

/// The words are made a second time for the page: they must be those of the code.
#[test]
fn the_page_has_the_words_of_the_code() {
    let tables = Tables::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    macro_rules! same {
        ($($t:ident)*) => {$(
            let words: Vec<&str> = $t::ALL.iter().map(|v| v.name()).collect();
            assert_eq!(tables.words_of(stringify!($t)), words, stringify!($t));
        )*};
    }
    same!(DeviceKind WipeReason LockReason OrderKind OrderResult Method EndReason RefusalCode);
}
