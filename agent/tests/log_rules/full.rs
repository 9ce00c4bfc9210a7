//! Logs that are nearly full.

use crate::bench::*;
use nrd_agent::Error;
use std::ops::Range;

/// Puts values until the log is full; returns the first id that it refused.
fn put_until_full(boot: &mut Boot<'_>, ids: Range<u16>, len: usize) -> u16 {
    for id in ids.clone() {
        loop {
            match boot.try_put(id, &vec![id as u8; len]) {
                Ok(()) => break,
                Err(Error::Full) => return id,
                Err(e) => assert_eq!(e, Error::Busy),
            }
            boot.settle();
        }
    }
    ids.end
}

/// Removes a value; false when there is no room for the marker.
fn removed(boot: &mut Boot<'_>, id: u16) -> bool {
    loop {
        match boot.remove(id) {
            Err(Error::Busy) => boot.settle(),
            Err(Error::Full) => return false,
            done => {
                assert_eq!(done, Ok(()));
                return true;
            }
        }
    }
}

/// Operations in a row silently do nothing. The log is so full that each opening
/// must empty a member, and some members are not indexed yet: after a boot, or
/// because an opening failed. One such operation costs no room; four retire a
/// sector.
#[test]
fn idle_operations_on_a_nearly_full_log_lose_nothing() {
    // Four values of 460 bytes fill a sector, and two sectors cannot hold what
    // three can; four of 448 leave room for a delete marker.
    let mut refused = 0;
    let kinds = [
        (9, 0, 500),
        (9, 8, 500),
        (5, 0, 460),
        (5, 2, 460),
        (5, 0, 448),
    ];
    for (kind, turn) in (0..15).map(|n| (kinds[n % 5], n / 5)) {
        let (sectors, deleted, size) = kind;
        let mut flash = Flash::new(sectors);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        // So that the log begins in another sector.
        for _ in 0..turn * 5 {
            boot.put(1, &vec![1; size]);
        }
        let full = put_until_full(&mut boot, 1..60, size);
        assert!(full < 60, "it was never full");
        for id in full - deleted..full {
            assert!(removed(&mut boot, id));
        }
        // A boot writes until the log is full again: delete markers are
        // collected, sector by sector. Then it removes one of the others.
        let life = |flash: &mut Flash| {
            let mut ram = Ram::default();
            let mut boot = Boot::new(flash, &mut ram);
            let end = put_until_full(&mut boot, 100..200, size);
            (end, removed(&mut boot, 1))
        };
        let mut probe = flash.clone();
        let (more, _) = life(&mut probe);
        for at in flash.ops..probe.ops {
            for len in [1, 4] {
                let mut flash = flash.clone();
                flash.idle = at..at + len;
                let why = format!("{len} idle from operation {at}");
                let (end, gone) = life(&mut flash);
                refused += u32::from(!gone);
                assert!(gone || size == 460, "{why}: not removed");
                assert!(len > 1 || (gone && end == more), "{why}: room is lost");
                let mut ram = Ram::default();
                let mut boot = Boot::new(&mut flash, &mut ram);
                boot.settle();
                assert_eq!(boot.get(1) == Err(Error::NotFound), gone, "{why}");
                for id in (2..full - deleted).chain(100..end) {
                    assert!(
                        boot.get(id) == Ok(vec![id as u8; size]),
                        "{why}: value {id} is lost"
                    );
                }
            }
        }
    }
    assert!(
        refused > 0,
        "no log was ever fuller than its remaining sectors"
    );
}

#[test]
fn a_sector_is_filled_to_its_last_byte_before_another_is_opened() {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    // Three records of 664 bytes behind a header of 56.
    boot.put(1, &[1; 628]);
    let before = boot.flash.ops;
    assert_eq!(boot.try_put(2, &[2; 628]), Ok(()));
    assert_eq!(boot.try_put(3, &[3; 628]), Ok(()));
    boot.settle();
    assert_eq!(boot.flash.ops - before, 2);
    // A delete marker finds room in another.
    assert!(removed(&mut boot, 1));
}

/// A delete marker stays until no older version is on flash, and costs no
/// opening of its own.
#[test]
fn a_removed_record_stays_removed_however_the_log_moves_on() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.put(20, b"opens the sector that this boot writes to");
    for id in [5, 11] {
        let before = boot.flash.ops;
        boot.remove(id).unwrap();
        boot.settle();
        assert_eq!(boot.flash.ops, before + 1, "one program");
    }
    for n in 0..40 {
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.put(1, &value(n));
        for _ in 0..2 {
            for id in [5, 11] {
                assert_eq!(boot.get(id), Err(Error::NotFound), "{id} after {n}");
            }
            boot.log.unmount();
            boot.settle();
        }
    }
}
