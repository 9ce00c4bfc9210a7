//! Rules of the log that its random lives (`log_lives.rs`) do not check. Mutants
//! of `agent/src/log/` that no test noticed showed what was missing.

mod bench;
mod cuts;
mod full;
mod rot;

use bench::*;
use nrd_agent::Error;
use nrd_agent::log::{LogKeys, PINNED_RECORD, Progress, RecordId};
use nrd_hal::ErrorKind;
use nrd_hal::crypto::RingCrypto;

#[test]
fn a_write_that_the_cells_did_not_take_is_never_ok() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.put(20, b"first");
    boot.flash.idle_programs = 1;
    assert_eq!(boot.try_put(20, b"second"), Err(Error::Busy));
    assert_eq!(boot.get(20).as_deref(), Ok(&b"first"[..]));
    boot.put(20, b"second");
    assert_eq!(boot.get(20).as_deref(), Ok(&b"second"[..]));
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.settle();
    assert_eq!(boot.get(20).as_deref(), Ok(&b"second"[..]));
}

#[test]
fn an_opening_notices_idle_erases_and_programs_and_loses_nothing() {
    for idle in 0..4 {
        let mut flash = filled();
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        (boot.flash.idle_erases, boot.flash.idle_programs) = (idle, 3 - idle);
        // The flash asserts that only blank cells are programmed.
        boot.put(20, b"new");
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.settle();
        assert_eq!(boot.get(20).as_deref(), Ok(&b"new"[..]), "{idle} idle");
        for id in 1..=12 {
            assert_eq!(boot.get(id), Ok(value(id)), "{idle} idle, {id}");
        }
    }
}

#[test]
fn no_record_is_reported_missing_before_every_member_is_indexed() {
    for writable in [false, true] {
        let mut flash = filled();
        for id in 1..=12 {
            let mut ram = Ram::default();
            let mut boot = Boot::new(&mut flash, &mut ram);
            if writable {
                boot.log.want_writable();
            }
            let mut early = 0;
            loop {
                let got = boot.get(id);
                match got {
                    Ok(v) => assert_eq!(v, value(id)),
                    Err(e) => assert_eq!(e, Error::Busy),
                }
                early += 1;
                if boot.step() == Progress::Done {
                    break;
                }
            }
            assert!(early > 2, "several steps");
            assert_eq!(boot.get(id), Ok(value(id)));
        }
    }
}

#[test]
fn no_record_is_written_or_removed_before_every_member_is_indexed() {
    let mut flash = filled();
    let cells = flash.cells.clone();
    for id in 1..=12 {
        flash.cells.clone_from(&cells);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        // One step at a time, each followed by the caller's try.
        let done = loop {
            match boot.remove(id) {
                Err(Error::Busy) => boot.step(),
                done => break done,
            };
        };
        assert_eq!(done, Ok(()), "{id} was there");
        assert_eq!(boot.get(id), Err(Error::NotFound));
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.settle();
        assert_eq!(boot.get(id), Err(Error::NotFound));
    }
}

#[test]
fn a_put_is_one_program_and_a_refused_one_none() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.put(20, b"first");
    let before = boot.flash.ops;
    boot.try_put(21, b"second").unwrap();
    assert_eq!(boot.flash.ops, before + 1);
    let longest = boot.log.max_value();
    let long = vec![0; longest + 1];
    assert_eq!(boot.try_put(22, &long), Err(Error::TooLong));
    assert_eq!(boot.remove(22), Err(Error::NotFound));
    assert_eq!(boot.flash.ops, before + 1);
    assert_eq!(boot.try_put(22, &long[..longest]), Err(Error::Full));
    assert_eq!(boot.flash.ops, before + 1);
    // The longest takes a sector to itself.
    let mut flash = Flash::new(3);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.put(22, &long[..longest]);
    assert_eq!(boot.get(22).as_deref(), Ok(&long[..longest]));
    boot.settle();
    assert!(!boot.log.needs_step());
}

#[test]
fn the_pinned_record_is_found_before_the_members_are_indexed() {
    for (pinned, removed, expected) in [
        (Some(&b"session"[..]), false, Ok(b"session".to_vec())),
        (Some(&b"session"[..]), true, Err(Error::NotFound)),
        (None, false, Err(Error::NotFound)),
    ] {
        let mut flash = Flash::new(9);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.settle();
        if let Some(value) = pinned {
            while boot.run(|log, io| log.put(io, PINNED_RECORD, value)) == Err(Error::Busy) {
                boot.settle();
            }
        }
        if removed {
            boot.run(|log, io| log.remove(io, PINNED_RECORD)).unwrap();
        }
        // It stands in an old member then, and the last of these in the head.
        for id in 1..=12 {
            boot.put(id, &value(id));
        }
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        let mut out = [0; 64];
        while !boot.log.is_settled() {
            boot.step();
        }
        assert_eq!(boot.get(1), Err(Error::Busy), "not indexed yet");
        let got = boot.run(|log, io| log.get(io, PINNED_RECORD, &mut out));
        assert_eq!(got.map(|n| out[..n].to_vec()), expected);
        boot.settle();
        assert_eq!(boot.get(1), Ok(value(1)));
    }
}

#[test]
fn a_failed_read_is_corrupt_for_an_ecc_error_and_else_a_hardware_error() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.settle();
    for (kind, error) in [
        (ErrorKind::Ecc, Error::Corrupt),
        (ErrorKind::Unavailable, Error::Hardware),
    ] {
        boot.flash.read_error = Some(kind);
        assert_eq!(boot.get(3), Err(error));
        boot.flash.read_error = None;
        assert_eq!(boot.get(3), Ok(value(3)));
    }
}

#[test]
fn an_unconfirmed_tail_is_not_served_before_it_is_written_anew() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    let mut others = 0;
    while !boot.log.is_settled() {
        assert_eq!(boot.get(12), Err(Error::Busy), "the last one written");
        others += u32::from(boot.get(11).is_ok());
        boot.step();
    }
    assert!(others > 0, "what stands before it is served");
    assert_eq!(boot.get(12), Ok(value(12)));
}

#[test]
fn a_lost_record_makes_older_records_corrupt_and_no_newer_ones() {
    let mut flash = filled();
    // Three values to a sector. Length and class, id, salt generation of 2.
    let header = [0xF4, 0x21, 2, 0, 0, 0];
    let at = flash.cells.windows(6).position(|w| w == header).unwrap();
    flash.cells[at..at + 12].fill(0);
    for _ in 0..2 {
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.log.want_writable();
        boot.settle();
        assert_eq!(boot.get(1), Err(Error::Corrupt));
        assert!(boot.get(2).is_err());
        for id in 4..=12 {
            assert_eq!(boot.get(id), Ok(value(id)), "{id}");
        }
    }
}

#[test]
fn delete_markers_are_collected_before_a_log_is_reported_full() {
    let mut flash = Flash::new(4);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    let mut counts = Vec::new();
    for round in 1..4 {
        // Ids without a delete marker yet.
        let first = round * 1000;
        let full = (first..).find(|&id| {
            loop {
                match boot.try_put(id, &[7; 100]) {
                    Ok(()) => break false,
                    Err(Error::Full) => break true,
                    Err(e) => assert_eq!(e, Error::Busy),
                }
                boot.settle();
            }
        });
        let full = full.unwrap();
        for id in first..full {
            while boot.remove(id) == Err(Error::Busy) {
                boot.settle();
            }
            assert_eq!(boot.get(id), Err(Error::NotFound));
        }
        counts.push(full - first);
    }
    assert!(
        counts[0] > 20 && counts.iter().all(|&n| n == counts[0]),
        "{counts:?}"
    );
}

#[test]
fn a_genuine_record_in_the_place_of_another_is_corrupt_even_if_moved_while_running() {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    // An older and a newer version of one record, and another record.
    boot.put(1, &value(1));
    boot.put(1, &value(9));
    boot.put(2, &value(2));
    // Length and class, id, salt generation.
    let find = |cells: &[u8], id| {
        let header = [0xF4, 0x21, id, 0, 0, 0];
        let found = cells.windows(6).enumerate().filter(|(_, w)| *w == header);
        found.map(|(at, _)| at..at + 536).collect::<Vec<_>>()
    };
    let (ones, twos) = (find(&boot.flash.cells, 1), find(&boot.flash.cells, 2));
    let (older, newer, other) = (&ones[0], &ones[1], &twos[0]);
    let good = boot.flash.cells.clone();
    for from in [older, other] {
        boot.flash.cells.copy_within(from.clone(), newer.start);
        assert_eq!(boot.get(1), Err(Error::Corrupt));
        boot.flash.cells.clone_from(&good);
        assert_eq!(boot.get(1), Ok(value(9)));
    }
}

#[test]
fn a_log_reports_its_sizes_and_when_it_needs_a_step() {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    assert_eq!((boot.log.sectors(), boot.log.sector_bytes()), (9, SECTOR));
    assert!(boot.log.needs_step(), "it was not mounted");
    boot.settle();
    assert!(!boot.log.needs_step(), "at rest");
    assert!(boot.log.is_empty(), "nothing was written");
    assert_eq!(boot.try_put(1, &value(1)), Err(Error::Busy));
    assert!(boot.log.needs_step(), "room is wanted");
    for id in 1..=12 {
        boot.put(id, &value(id));
    }
    assert!(!boot.log.is_empty());

    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    assert_eq!(boot.step(), Progress::More);
    assert!(
        boot.log.needs_step(),
        "mounted, and the members not indexed"
    );
    boot.settle();
    assert!(!boot.log.needs_step(), "the tail was written anew");

    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.settle();
    let programs = boot.flash.programs.len();
    boot.log.want_writable();
    assert!(boot.log.needs_step(), "a sector is wanted");
    assert_eq!(boot.step(), Progress::More);
    assert!(boot.log.needs_step(), "one is being opened");
    boot.settle();
    assert_eq!(boot.flash.programs.len() - programs, 3 + 3, "three copies");
    boot.log.want_writable();
    assert!(!boot.log.needs_step(), "there is one");
}

#[test]
fn dropping_a_class_drops_its_records_and_no_others() {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    for class in 1..4 {
        let id = RecordId { class, id: 0 };
        while boot.run(|log, io| log.put(io, id, b"value")) == Err(Error::Busy) {
            boot.settle();
        }
    }
    boot.log.drop_class(2);
    let kept: Vec<u8> = boot.log.record_ids().map(|k| k.class).collect();
    assert_eq!(kept, [1, 3]);
    // The unconfirmed tail after a boot goes with its class, else it stays.
    for class in [3, 1] {
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        assert_eq!(boot.step(), Progress::More);
        assert!(!boot.log.is_settled(), "the tail is unconfirmed");
        boot.log.drop_class(class);
        assert_eq!(boot.log.is_settled(), class == 3);
    }
}

#[test]
fn sectors_under_other_keys_do_not_count() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.keys = LogKeys::new::<RingCrypto>(1, 8, &[1; 32]);
    boot.settle();
    assert!(
        !boot.log.is_empty(),
        "the epoch is in a record, not in a header"
    );
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.keys = LogKeys::new::<RingCrypto>(1, 7, &[2; 32]);
    boot.settle();
    assert!(boot.log.is_empty());
    assert_eq!(boot.get(1), Err(Error::NotFound));
}

/// It stays retired until the next boot.
#[test]
fn a_retired_sector_is_not_used_again_even_after_a_remount() {
    let mut flash = filled();
    let (_, retired) = opening(&flash);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.flash.idle_erases = 4;
    boot.put(20, &value(20));
    boot.log.unmount();
    let before = boot.flash.programs.len();
    for n in 0..60 {
        boot.put(20, &value(n));
    }
    let since = &boot.flash.programs[before..];
    let opened: Vec<u32> = since.iter().map(|p| p.1 / SECTOR).collect();
    assert!(
        !opened.contains(&retired),
        "sector {retired} was opened again"
    );
    let others = (0..9).filter(|s| opened.contains(s));
    assert!(others.count() > 4, "it went round");
}
