//! Challenges of devices at rest: in the memory of the process that gave them,
//! and nowhere else.
//!
//! The challenge in the device's row is the one that every process takes, and
//! taking it writes. A device at rest would write it at each check-in, so it is
//! given one that is *held* here instead. It hangs on the row's challenge: it is
//! good only while the row's is the one that it was given beside, so whatever
//! another process accepts of the device ends it. A process that does not hold it
//! (another one, or this one started anew) answers `StaleChallenge` with the
//! row's, which any process takes.

use nrd_agent::wire::DeviceId;
use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

/// Devices in one of the two maps. Full, a map takes 98 bytes in each of 2¹⁸
/// places: 26 MB, and 52 MB for both.
pub(crate) const HALF: usize = (1 << 18) / 8 * 7;

/// At most one challenge a device, so a device pushes out no other than by being
/// one more.
pub(crate) struct Held {
    maps: Mutex<Maps>,
    half: usize,
}

#[derive(Default)]
struct Maps {
    young: HashMap<DeviceId, Pair>,
    /// What was young when the map was full; thrown away when it is full again.
    old: HashMap<DeviceId, Pair>,
}

struct Pair {
    held: [u8; 32],
    /// The row's challenge that it hangs on.
    row: [u8; 32],
}

impl Held {
    /// Holds those of `half` devices at least, and of twice as many at most.
    pub(crate) fn of(half: usize) -> Held {
        Held {
            maps: Mutex::default(),
            half,
        }
    }

    /// Holds `held` for a device, in place of what was held for it.
    pub(crate) fn hold(&self, device: DeviceId, held: [u8; 32], row: [u8; 32]) {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if maps.young.len() >= self.half && !maps.young.contains_key(&device) {
            maps.old = mem::take(&mut maps.young);
        }
        maps.old.remove(&device);
        maps.young.insert(device, Pair { held, row });
    }

    /// Consumes what is held for a device, if it is this; gives the row's
    /// challenge that it hangs on.
    pub(crate) fn take(&self, device: &DeviceId, presented: &[u8; 32]) -> Option<[u8; 32]> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let Maps { young, old } = &mut *maps;
        for map in [young, old] {
            if map.get(device).is_some_and(|pair| pair.held == *presented) {
                return map.remove(device).map(|pair| pair.row);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: usize) -> DeviceId {
        DeviceId::new(&format!("D-{n}")).expect("an id")
    }

    #[test]
    fn it_is_taken_once_and_only_by_its_device() {
        let held = Held::of(2);
        held.hold(device(1), [1; 32], [9; 32]);
        assert_eq!(held.take(&device(2), &[1; 32]), None);
        assert_eq!(held.take(&device(1), &[2; 32]), None);
        assert_eq!(held.take(&device(1), &[1; 32]), Some([9; 32]));
        assert_eq!(held.take(&device(1), &[1; 32]), None);
    }

    #[test]
    fn a_device_has_one_and_pushes_out_nobody_by_having_another() {
        let held = Held::of(2);
        held.hold(device(0), [7; 32], [9; 32]);
        for n in 0..100 {
            held.hold(device(1), [n; 32], [9; 32]);
        }
        assert_eq!(held.take(&device(1), &[98; 32]), None);
        assert!(held.take(&device(1), &[99; 32]).is_some());
        assert!(held.take(&device(0), &[7; 32]).is_some());
    }

    #[test]
    fn as_many_other_devices_as_stated_push_it_out_and_no_fewer() {
        let held = Held::of(10);
        held.hold(device(0), [7; 32], [9; 32]);
        for n in 1..=10 {
            held.hold(device(n), [n as u8; 32], [9; 32]);
        }
        let maps = held.maps.lock().expect("no panic");
        assert!(maps.old.contains_key(&device(0)));
        drop(maps);
        // Kept for one that comes back; the memory is bounded.
        held.hold(device(0), [8; 32], [9; 32]);
        for n in 11..1000 {
            held.hold(device(n), [1; 32], [9; 32]);
            let maps = held.maps.lock().expect("no panic");
            assert!(maps.young.len() + maps.old.len() <= 20);
        }
        assert_eq!(held.take(&device(0), &[8; 32]), None);
    }

    #[test]
    fn a_place_is_as_large_as_the_documents_say() {
        // One byte more a place is the map's own.
        assert_eq!(size_of::<(DeviceId, Pair)>() + 1, 98);
        assert_eq!(HALF, 229_376);
        let full: HashMap<DeviceId, Pair> = HashMap::with_capacity(HALF);
        assert_eq!(full.capacity(), HALF, "one more would double its memory");
    }
}
