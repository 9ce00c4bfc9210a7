//! Cells that rot after they were written, and forged or foreign records.

use crate::bench::*;
use nrd_agent::Error;
use nrd_agent::log::{PINNED_RECORD, RECORD_OVERHEAD};

/// Start of the record that was programmed as the `n`th from the end.
fn programmed(flash: &Flash, n: usize) -> usize {
    flash.programs[flash.programs.len() - n].1 as usize
}

/// Values 1 to 12, and then 1 to 3 anew, all three in the head.
fn written_anew() -> Flash {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    for id in 1..=3 {
        boot.put(id, &value(id + 40));
    }
    flash
}

/// The id of a record with a lost header is unknown. No record that it may have
/// replaced is served, whether others follow it or not.
#[test]
fn no_record_older_than_a_lost_one_of_the_head_is_served() {
    for (from_the_end, follow) in [(3, true), (1, false)] {
        let mut flash = written_anew();
        let at = programmed(&flash, from_the_end);
        flash.cells[at..at + 12].fill(0);
        // The first boot replaces the head: the next one knows of it all the same.
        for _ in 0..2 {
            let mut ram = Ram::default();
            let mut boot = Boot::new(&mut flash, &mut ram);
            boot.settle();
            for id in 1..=12 {
                let got = boot.get(id);
                let expected = if follow {
                    Err(Error::Corrupt)
                } else if id < 3 {
                    Ok(value(id + 40))
                } else {
                    // The lost record may be what a cut left of a write.
                    Ok(value(id))
                };
                assert_eq!(got, expected, "value {id}");
            }
        }
    }
}

/// Correcting a bit may give another record's header.
#[test]
fn a_corrected_header_counts_only_if_its_record_authenticates() {
    for rotten in [false, true] {
        let mut flash = written_anew();
        let at = programmed(&flash, 3);
        flash.cells[at + 2] ^= 1;
        flash.cells[at + 60] ^= u8::from(rotten);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.settle();
        for (id, sound) in [(1, value(41)), (2, value(42)), (12, value(12))] {
            let expected = if rotten {
                Err(Error::Corrupt)
            } else {
                Ok(sound)
            };
            assert_eq!(boot.get(id), expected, "value {id}");
        }
    }
}

/// In a member whose header is lost, each record must authenticate.
#[test]
fn a_member_without_a_header_lets_no_foreign_record_in() {
    // A value that this log never had.
    let foreign = foreign(66, &value(66));
    let mut flash = filled();
    // In place of value 2, in the middle of the first sector.
    let second = 56 + foreign.len();
    assert!(flash.programs.iter().any(|p| p.1 as usize == second));
    flash.cells[second..second + foreign.len()].copy_from_slice(&foreign);
    flash.cells[4..8].fill(0x5A);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.settle();
    assert_eq!(boot.get(66), Err(Error::NotFound));
    // All that is older than the head may have been replaced by what is lost.
    for id in (1..=12).filter(|&id| id != 2) {
        assert_eq!(boot.get(id), Err(Error::Corrupt), "value {id}");
    }
}

/// The pinned record is found early only if it reads well.
#[test]
fn a_pinned_record_that_rotted_is_not_found_before_the_members_are_indexed() {
    for (before, rots) in [(0, false), (4, false), (0, true), (4, true)] {
        let mut flash = Flash::new(9);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        for id in 1..=before {
            boot.put(id, &value(id));
        }
        while boot.run(|log, io| log.put(io, PINNED_RECORD, b"session")) == Err(Error::Busy) {
            boot.settle();
        }
        let at = programmed(boot.flash, 1);
        for id in before + 1..=12 {
            boot.put(id, &value(id));
        }
        assert_eq!(at / SECTOR as usize, usize::from(before / 3));
        if rots {
            flash.cells[at..at + 12].fill(0);
        }
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        while !boot.log.is_settled() {
            boot.step();
        }
        let mut out = [0; 64];
        let expected = if rots { Err(Error::Busy) } else { Ok(7) };
        let got = boot.run(|log, io| log.get(io, PINNED_RECORD, &mut out));
        assert_eq!(got, expected, "after {before} values");
    }
}

/// The head's header says where the pinned record lay, not what lies there now:
/// somebody with access to the flash may have put another genuine record in its
/// place, which must not be served as the session.
#[test]
fn another_genuine_record_in_the_pinned_records_place_is_not_served_as_it() {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    let session = [7; 500];
    while boot.run(|log, io| log.put(io, PINNED_RECORD, &session)) == Err(Error::Busy) {
        boot.settle();
    }
    let pinned = programmed(boot.flash, 1);
    boot.put(1, &value(1));
    let other = programmed(boot.flash, 1);
    for id in 2..=12 {
        boot.put(id, &value(id));
    }
    flash
        .cells
        .copy_within(other..other + RECORD_OVERHEAD + session.len(), pinned);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    while !boot.log.is_settled() {
        boot.step();
    }
    assert_eq!(boot.get(1), Err(Error::Busy), "not indexed yet");
    let mut out = [0; 500];
    let got = boot.run(|log, io| log.get(io, PINNED_RECORD, &mut out));
    assert_eq!(got, Err(Error::Busy));
}

/// A forger can compute check bits but no authentication. The genuine records
/// that follow a forged header do not vouch for it.
#[test]
fn a_header_that_does_not_authenticate_does_not_count_whatever_follows_it() {
    // Members, base sequence number, end of the copies, pinned address, lost-before.
    for (field, flip) in [
        (8, 1),
        (8, 2),
        (12, 0xFF),
        (16, 0x40),
        (20, 0xFF),
        (24, 0xFF),
    ] {
        let mut flash = written_anew();
        let sector = programmed(&flash, 1) / SECTOR as usize;
        let header = &mut flash.cells[sector * SECTOR as usize..][..40];
        header[field] ^= flip;
        header[field + 1] ^= flip;
        let check = crc::Crc::<u16>::new(&crc::CRC_16_IBM_3740).checksum(&header[..28]);
        header[28..30].copy_from_slice(&check.to_le_bytes());
        for boot in 0..2 {
            let mut ram = Ram::default();
            let mut b = Boot::new(&mut flash, &mut ram);
            b.settle();
            for id in 1..=12 {
                // Two records newer than all others tell that a head was lost.
                assert_eq!(
                    b.get(id),
                    Err(Error::Corrupt),
                    "{field}, boot {boot}, value {id}"
                );
            }
        }
    }
}
