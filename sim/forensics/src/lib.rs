//! What an outsider does with a device and its papers: read a flash image as an
//! adversary would, verify a receipt offline, read a maker's status list.
//!
//! | module | what |
//! |---|---|
//! | [`inspect`] | what stands in a flash image, and what of it can be read |
//! | [`storage_check`] | a device’s whole storage, filled over a cable and read back |
//! | [`verify`] | a receipt or a proof held against the maker's key and status list |
//!
//! ```
//! use nrd_hal::Geometry;
//! use nrd_sim_forensics::inspect::{Image, Search, inspect};
//!
//! // A part as it leaves the factory: nothing in it, and nothing to read.
//! let geometry = Geometry { size: 64 * 1024, write_size: 4, erase_size: 4096, best_erase: 4096 };
//! let cells = vec![0xFF; 64 * 1024];
//! let report = inspect(&Image { cells: &cells, geometry }, &Search::default()).unwrap();
//! assert!(report.plaintext_hits.is_empty());
//! ```
//!
//! It may use `nrd-sim-hw` (how a part derives its keys), `nrd-agent` (the wire
//! types) and `nrd-sim-base`. It links no database, no web server and no
//! service key: whoever verifies a receipt needs none.
#![forbid(unsafe_code)]

pub mod inspect;
pub mod storage_check;
pub mod verify;
