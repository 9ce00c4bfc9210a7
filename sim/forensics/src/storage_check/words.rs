//! What a storage check has bounded and what it has not, in words.

use super::Bounded;
use nrd_sim_base::time_format::count;

/// What no storage check bounds.
pub const NOT_BOUNDED: [&str; 4] = [
    "Memory that the device does not declare and that holds as much as it keeps: another chip, or a computer behind it.",
    "An accomplice who holds the bytes and answers within the limit, over any channel that the device has.",
    "Which device it is: whatever is at the other end of the cable answered. The receipt’s signature says that this device’s key took part, wherever it is.",
    "What was copied out of the storage before, and what the device’s software does after.",
];

impl Bounded {
    /// What the check has shown, a sentence each.
    pub fn shows(&self) -> Vec<String> {
        vec![
            format!(
                "This desk filled all the storage that the device declares, {}, with random bytes of its own, and drew the key after the last of them was stored.",
                count(self.bytes().into(), "byte")
            ),
            format!(
                "The device read all of them back under that key in {} ms; {} ms are allowed.",
                self.elapsed.as_millis(),
                self.limit.as_millis()
            ),
            format!(
                "Had it kept anything else in that storage, it would have had to guess the bytes that it had no room for: {}.",
                chance_in_words(8)
            ),
        ]
    }
}

/// The chance of an answer that lacks so many bits of the desk's bytes.
pub fn chance_in_words(missing_bits: u32) -> String {
    match missing_bits {
        0 => "every answer is right".to_owned(),
        1..=20 => {
            let bytes = missing_bits / 8;
            let what = match missing_bits % 8 {
                0 => count(bytes.into(), "byte"),
                _ => count(missing_bits.into(), "bit"),
            };
            format!("for {what}, one answer in {}", 1u32 << missing_bits)
        }
        _ => format!("one answer in 2^{}", missing_bits.min(256)),
    }
}
