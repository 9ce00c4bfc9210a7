//! Openings that a power cut ended early, and how a later boot reads them.

use crate::bench::*;
use nrd_agent::Error;
use nrd_agent::log::Progress;
use nrd_hal::ErrorKind;
use std::ops::Range;

/// A half-committed sector may be one whose erase was begun by a boot that could
/// not read its header. It counts only if every copy is there.
#[test]
fn a_half_committed_sector_whose_erase_was_torn_since_hides_nothing() {
    let flash = filled();
    let (header, sector) = opening(&flash);
    for words in [0, 1] {
        let mut cut = flash.clone();
        cut.cut_at = header + 1 + words;
        assert!(!written(&mut cut));
        cut.power_on();
        all_there(&mut cut.clone(), &value(1), "cut");
        let begin = (sector * SECTOR) as usize;
        let cells = begin + 100..begin + SECTOR as usize;
        let copies = cut.cells[cells.clone()].iter().filter(|&&c| c != 0xFF);
        assert!(copies.count() > 500, "it holds copies");
        // An erase may have reached any cells first.
        for at in cells.step_by(7) {
            let mut torn = cut.clone();
            torn.cells[at] = 0xFF;
            torn.cells[at + 1] = 0xFF;
            all_there(
                &mut torn,
                &value(1),
                &format!("{words} words, erased at {at}"),
            );
        }
    }
}

/// A header that reads badly at one boot and well at a later one must not stand
/// above what was written in between.
#[test]
fn a_sector_with_an_unreadable_header_is_erased_before_a_new_head_is_written() {
    let mut seen = 0;
    for rounds in 0..12 {
        let mut flash = gone_round(rounds);
        let (_, refuses) = opening(&flash);
        // The next sector in turn does not erase in this boot, so that another
        // one is opened, and is cut after its first commit word.
        flash.idle_erases = 3;
        let (header, sector) = opening(&flash);
        if sector <= refuses {
            continue;
        }
        seen += 1;
        flash.cut_at = header + 2;
        assert!(!written(&mut flash));
        flash.power_on();
        let at = (sector * SECTOR) as usize;
        let fields = at + FIELDS.start..at + FIELDS.end;
        let well = flash.cells[fields.clone()].to_vec();
        let badly: Vec<u8> = well.iter().map(|b| b ^ 0x14).collect();
        flash.cells[fields.clone()].copy_from_slice(&badly);
        assert!(written(&mut flash));
        if flash.cells[fields.clone()] == badly {
            flash.cells[fields].copy_from_slice(&well);
        }
        all_there(&mut flash, &value(99), &format!("after {rounds} more"));
    }
    assert!(seen > 0, "the sectors were never in that order");
}

/// Offsets of a sector's generation and of its commit words.
const FIELDS: Range<usize> = 4..8;
const FIRST_WORD: Range<usize> = 40..48;
const WORDS: Range<usize> = 40..56;

/// Changes more bits of these cells than one.
fn spoil(flash: &mut Flash, sector: u32, cells: Range<usize>) {
    let begin = (sector * SECTOR) as usize;
    for cell in &mut flash.cells[begin + cells.start..begin + cells.end] {
        *cell ^= 0x14;
    }
}

/// A log that has gone round, `n` values further.
fn gone_round(n: u16) -> Flash {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    for n in 0..60 + n {
        let id = 1 + n % 12;
        boot.put(id, &value(id));
    }
    flash
}

/// Of several unidentified sectors, that of the highest generation need not be
/// erased first: all of them are.
#[test]
fn every_unidentified_sector_is_erased_before_a_new_head_is_written() {
    let mut seen = 0;
    for rounds in 0..24 {
        let mut flash = gone_round(rounds);
        let mut sectors = [0; 2];
        for sector in &mut sectors {
            let (header, opened) = opening(&flash);
            flash.cut_at = header + 2;
            assert!(!written(&mut flash));
            flash.power_on();
            *sector = opened;
        }
        if sectors[0] <= sectors[1] {
            continue;
        }
        seen += 1;
        let before = flash.clone();
        for s in sectors {
            spoil(&mut flash, s, FIELDS);
        }
        assert!(written(&mut flash));
        for s in sectors {
            let at = (s * SECTOR) as usize;
            let fields = at + FIELDS.start..at + FIELDS.end;
            spoil(&mut flash, s, FIELDS);
            if flash.cells[fields.clone()] != before.cells[fields] {
                // It was opened anew: it reads as it did.
                spoil(&mut flash, s, FIELDS);
            }
        }
        all_there(&mut flash, &value(99), &format!("after {rounds} more"));
    }
    assert!(seen > 0, "the sectors were never in that order");
}

/// With so many values, every member holds one that counts.
const MANY: u16 = 18;

/// Boots and puts values, a new one each time, until the power goes; the value
/// of each id that was acknowledged last is in `acknowledged`.
fn put_again(flash: &mut Flash, acknowledged: &mut [u16; MANY as usize + 1]) {
    let mut ram = Ram::default();
    let mut boot = Boot::new(flash, &mut ram);
    let first = acknowledged.iter().max().unwrap() + 1;
    for n in first..first + 200 {
        // All of them once, then some more often: so that sectors do not come
        // free in turn.
        let id = 1 + if n <= MANY {
            n - 1
        } else {
            (n % 41).pow(2) % 41 % MANY
        };
        while let Err(e) = boot.try_put(id, &value(n)) {
            if e != Error::Busy {
                return;
            }
            while match boot.run(|log, io| log.step(io)) {
                Ok(progress) => progress == Progress::More,
                Err(_) => return,
            } {}
        }
        acknowledged[usize::from(id)] = n;
    }
}

/// A half-committed head may be unreadable at the next boot. So the members of the
/// fallback head are kept until there is a successor. They differ from those of
/// the head when that was not the first opening of its boot.
#[test]
fn the_fallback_of_a_half_committed_head_is_kept_until_there_is_a_successor() {
    let mut flash = Flash::new(9);
    let mut before = [0; MANY as usize + 1];
    put_again(&mut flash, &mut before);
    let mut probe = flash.clone();
    put_again(&mut probe, &mut before.clone());
    let programs = &probe.programs[flash.programs.len()..];
    let headers = programs.iter().filter(|(_, at)| at % SECTOR == 0);
    let mut cuts = 0;
    for (header, at) in headers {
        let half_committed = at / SECTOR;
        let (mut flash, mut acknowledged) = (flash.clone(), before);
        flash.cut_at = header + 2;
        put_again(&mut flash, &mut acknowledged);
        flash.power_on();
        let (successor, _) = opening(&flash);
        for cut_at in (flash.ops..=successor).step_by(3) {
            let mut cut = flash.clone();
            cut.cut_at = cut_at;
            assert!(!written(&mut cut));
            cut.power_on();
            spoil(&mut cut, half_committed, FIRST_WORD);
            let mut ram = Ram::default();
            let mut boot = Boot::new(&mut cut, &mut ram);
            boot.settle();
            for id in 1..=MANY {
                let why =
                    format!("half-committed at operation {header}, cut at {cut_at}, value {id}");
                assert!(
                    boot.get(id) == Ok(value(acknowledged[usize::from(id)])),
                    "{why}"
                );
            }
            cuts += 1;
        }
    }
    assert!(cuts > 12, "{cuts} cuts");
}

/// A sector without a readable header was the head if it holds two records newer
/// than all others.
#[test]
fn two_records_newer_than_all_others_are_a_lost_head() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.settle();
    // A sector of copies, and in it one record more, and two.
    for more in 0..3 {
        let mut flash = boot.flash.clone();
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        for id in 20..20 + more {
            boot.put(id, b"short");
        }
        let head = flash.programs.last().unwrap().1 / SECTOR;
        spoil(&mut flash, head, FIELDS);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.settle();
        let expected = match more {
            0 | 1 => Ok(value(2)),
            _ => Err(Error::Corrupt),
        };
        assert_eq!(boot.get(2), expected, "{more} records more");
    }
}

/// A half-committed head that read well at the mount may read differently when it
/// is replaced. Then it does not count, and nothing is lost.
#[test]
fn a_half_committed_head_that_fades_while_it_is_replaced_does_not_count() {
    let flash = filled();
    let (header, half_committed) = opening(&flash);
    let begin = (half_committed * SECTOR) as usize;
    let mut faded = 0;
    for at in (begin + 56..begin + SECTOR as usize).step_by(101) {
        let mut flash = flash.clone();
        flash.cut_at = header + 2;
        assert!(!written(&mut flash));
        flash.power_on();
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.step();
        assert!(!boot.log.is_settled(), "the half-committed head counts");
        faded += u32::from(boot.flash.cells[at] != 0xFF);
        boot.flash.cells[at] ^= 1;
        boot.settle();
        for id in 1..=12 {
            assert_eq!(boot.get(id), Ok(value(id)), "faded at {at}");
        }
    }
    assert!(faded > 8, "{faded} faded");
}

#[test]
fn a_head_with_records_of_its_own_counts_although_its_commit_words_are_unreadable() {
    let mut flash = filled();
    let head = flash.programs.last().unwrap().1 / SECTOR;
    spoil(&mut flash, head, WORDS);
    all_there(&mut flash, &value(1), "without commit words");
}

#[test]
fn junk_behind_the_copies_does_not_make_a_head() {
    let flash = filled();
    let (header, sector) = opening(&flash);
    let mut cut = flash.clone();
    cut.cut_at = header + 1;
    assert!(!written(&mut cut));
    cut.power_on();
    let begin = (sector * SECTOR) as usize;
    let end = cut.cells[begin + 16..begin + 20].try_into().unwrap();
    let end = begin + u32::from_le_bytes(end) as usize;
    for junk in [vec![0; 8], foreign(1, b"another's")] {
        let mut cut = cut.clone();
        cut.cells[end..end + junk.len()].copy_from_slice(&junk);
        // An erase has begun.
        cut.cells[begin + 100..begin + 104].fill(0xFF);
        all_there(&mut cut, &value(1), "junk behind the copies");
    }
}

#[test]
fn a_completed_opening_is_settled_at_the_next_boot() {
    let mut flash = filled();
    let mut ram = Ram::default();
    Boot::new(&mut flash, &mut ram).settle();
    let before = flash.ops;
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.step();
    assert!(
        boot.log.is_settled(),
        "it has both commit words, and no record of its own"
    );
    boot.settle();
    assert_eq!(flash.ops, before, "a boot that only reads writes nothing");
}

#[test]
fn a_failed_read_is_reported_and_an_ecc_error_is_an_unreadable_header() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.flash.read_error = Some(ErrorKind::Unavailable);
    let stepped = boot.run(|log, io| log.step(io));
    assert_eq!(stepped, Err(Error::Hardware));
    boot.flash.read_error = Some(ErrorKind::Ecc);
    assert_eq!(boot.step(), Progress::More);
    assert!(boot.log.is_empty());
    boot.flash.read_error = None;
    boot.log.unmount();
    boot.settle();
    assert_eq!(boot.get(3), Ok(value(3)));
}

#[test]
fn sectors_are_opened_in_turn_and_a_blank_one_is_not_unidentified() {
    let flash = filled();
    let head = flash.programs.last().unwrap().1 / SECTOR;
    assert!(head < 7, "blank sectors are left");
    let (header, sector) = opening(&flash);
    assert_eq!(sector, head + 1);
    // Erased twice, three copies.
    assert!(header - flash.ops <= 5, "nothing else is erased");
}

/// An erase may do nothing over cells that a cut left half-way, which happen to
/// read blank. So a sector without a header is erased twice, any other once.
#[test]
fn a_sector_without_a_header_is_erased_twice() {
    for (mut flash, times) in [(filled(), 2), (gone_round(0), 1)] {
        let (_, sector) = opening(&flash);
        let before = flash.erases.len();
        assert!(written(&mut flash));
        let erases = flash.erases[before..].iter();
        assert_eq!(erases.filter(|&&s| s == sector).count(), times);
    }
}

/// The first failure may be chance.
#[test]
fn a_sector_that_twice_does_not_take_its_content_is_retired() {
    for rounds in [0, 5] {
        let mut flash = gone_round(rounds);
        let (_, dead) = opening(&flash);
        flash.dead = Some(dead);
        let before = flash.programs.len();
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        for n in 0..60 {
            boot.put(1, &value(n));
        }
        let tries = flash.programs[before..].iter();
        let tries = tries.filter(|(_, at)| at / SECTOR == dead).count();
        assert_eq!(tries, 2, "sector {dead}");
        all_there(&mut flash, &value(59), "with a dead sector");
    }
}
