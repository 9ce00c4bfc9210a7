//! The remote-control sequence that opens the deactivation menu:
//! ↑↑↓↓←→←→↑↑↑↑, fed one key at a time.
//!
//! Feed only keys of a physical or paired remote, never those that arrive over
//! CEC, DIAL or a network remote.

/// A key of the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoteKey {
    /// ↑
    Up,
    /// ↓
    Down,
    /// ←
    Left,
    /// →
    Right,
    /// Any other key.
    Other,
}

use RemoteKey::{Down, Left, Other, Right, Up};

const SEQUENCE: [RemoteKey; 12] = [Up, Up, Down, Down, Left, Right, Left, Right, Up, Up, Up, Up];

/// Longest pause between two keys, in milliseconds.
pub const MAX_PAUSE_MS: u64 = 5_000;

/// Recognises the sequence.
///
/// ```
/// use nrd_agent::keypad::{MenuSequence, RemoteKey::{self, Down, Left, Right, Up}};
///
/// let mut sequence = MenuSequence::default();
/// let keys = [Up, Up, Down, Down, Left, Right, Left, Right, Up, Up, Up, Up];
/// let mut opened = keys.iter().zip(0..).map(|(key, i)| sequence.press(*key, i * 300));
/// assert_eq!(opened.position(|opens| opens), Some(11)); // at the last key
/// # assert!(!sequence.press(RemoteKey::Other, 10_000));
/// ```
#[derive(Debug, Clone)]
pub struct MenuSequence {
    /// The last keys, the newest last; `Other` where there was none.
    keys: [RemoteKey; SEQUENCE.len()],
    last_ms: u64,
}

const NO_KEYS: [RemoteKey; SEQUENCE.len()] = [Other; SEQUENCE.len()];

impl Default for MenuSequence {
    fn default() -> Self {
        MenuSequence {
            keys: NO_KEYS,
            last_ms: 0,
        }
    }
}

impl MenuSequence {
    /// Feeds one key pressed at `now_ms` (uptime); true when it completes the
    /// sequence.
    pub fn press(&mut self, key: RemoteKey, now_ms: u64) -> bool {
        let pause = now_ms.saturating_sub(self.last_ms);
        self.last_ms = now_ms;
        if pause > MAX_PAUSE_MS {
            self.keys = NO_KEYS;
        }
        self.keys.rotate_left(1);
        if let Some(newest) = self.keys.last_mut() {
            *newest = key;
        }
        let done = self.keys == SEQUENCE;
        if done {
            self.keys = NO_KEYS;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn run(keys: &[RemoteKey]) -> usize {
        let mut m = MenuSequence::default();
        keys.iter()
            .enumerate()
            .filter(|(i, k)| m.press(**k, *i as u64 * 100))
            .count()
    }

    #[test]
    fn the_sequence_opens_the_menu_once() {
        assert_eq!(run(&SEQUENCE), 1);
    }

    #[test]
    fn extra_leading_ups_do_not_spoil_it() {
        let mut keys = vec![Up, Up, Up];
        keys.extend(SEQUENCE);
        assert_eq!(run(&keys), 1);
    }

    #[test]
    fn a_wrong_key_or_a_long_pause_starts_over() {
        let mut keys = SEQUENCE.to_vec();
        keys.insert(6, RemoteKey::Other);
        assert_eq!(run(&keys), 0);
        let mut m = MenuSequence::default();
        let opened = SEQUENCE
            .iter()
            .enumerate()
            .any(|(i, k)| m.press(*k, i as u64 * (MAX_PAUSE_MS + 1)));
        assert!(!opened);
    }

    #[test]
    fn a_pause_of_just_the_longest_length_is_allowed() {
        let mut m = MenuSequence::default();
        let opened = SEQUENCE
            .iter()
            .enumerate()
            .filter(|(i, k)| m.press(**k, *i as u64 * MAX_PAUSE_MS))
            .count();
        assert_eq!(opened, 1);
    }

    #[test]
    fn the_end_of_an_unfinished_sequence_may_begin_the_next() {
        // ↑↑↓↓←→←→↑↑, and then on as after the first ↑↑.
        let mut keys = SEQUENCE[..10].to_vec();
        keys.extend(&SEQUENCE[2..]);
        assert_eq!(run(&keys), 1);
    }

    #[test]
    fn an_opened_menu_takes_a_whole_sequence_to_open_again() {
        let mut keys = SEQUENCE.to_vec();
        keys.extend(&SEQUENCE[2..]);
        assert_eq!(run(&keys), 1);
        keys.truncate(12);
        keys.extend(SEQUENCE);
        assert_eq!(run(&keys), 2);
    }
}
