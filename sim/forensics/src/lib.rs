//! What an outsider does with a device and its papers: read a flash image as an
//! adversary would, verify a receipt offline, read a maker's status list.
//!
//! | module | what |
//! |---|---|
//! | [`inspect`] | what stands in a flash image, and what of it can be read |
//! | [`verify`] | a receipt or a proof held against the maker's key and status list |
//!
//! It may use `nrd-sim-hw` (how a part derives its keys), `nrd-agent` (the wire
//! types) and `nrd-sim-base`. It links no database, no web server and no
//! service key: whoever verifies a receipt needs none.
#![forbid(unsafe_code)]

pub mod inspect;
pub mod verify;
