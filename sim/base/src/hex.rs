//! Hexadecimal digits (RFC 4648 §8), written in lower case, read in either.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// Lower-case hexadecimal digits, two for each byte.
///
/// ```
/// assert_eq!(nrd_sim_base::hex(&[0x0F, 0xA0]), "0fa0");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Reads exactly `N` bytes from hexadecimal digits; white space around them is
/// ignored. `None` for any other length or character.
///
/// ```
/// use nrd_sim_base::unhex;
/// assert_eq!(unhex::<2>(" 0fA0\n"), Some([0x0F, 0xA0]));
/// assert_eq!(unhex::<2>("0fa"), None);
/// assert_eq!(unhex::<2>("0fag"), None);
/// ```
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()?;
    bytes.try_into().ok()
}
