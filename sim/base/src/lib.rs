//! What every other crate of the simulator may use: a leaf.
//!
//! | module | what |
//! |---|---|
//! | [`hex()`], [`unhex()`] | hexadecimal digits, through `data-encoding` |
//! | [`secret_file`] | files that only their owner may read |
//! | [`device_kind`] | kinds of devices as people read and type them |
//! | [`sign`] | Ed25519 keys and the frames they sign |
//! | [`sample`] | sample accounts from a readable file |
//! | [`pictogram`] | the sixteen pictograms that screen and page both show |
//! | [`printable()`] | text from a stranger, made harmless |
//! | [`time_format`] | times and counts in words |
//!
//! It may use `nrd-agent` (the wire types and data classes) and small
//! libraries. It knows no hardware, no service and no device: whatever needs
//! one of these belongs into that crate.

pub mod device_kind;
mod error;
mod hex;
pub mod pictogram;
mod printable;
pub mod sample;
pub mod secret_file;
pub mod sign;
pub mod time_format;

pub use error::FileError;
pub use hex::{hex, unhex};
pub use printable::{printable, steers};

/// N random bytes of the operating system.
///
/// # Errors
/// When the system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut out = [0; N];
    getrandom::fill(&mut out)?;
    Ok(out)
}
