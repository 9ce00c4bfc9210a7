//! Rules of the log that its random lives do not show: found missing by mutants
//! of `agent/src/log/`.

use nrd_agent::Error;
use nrd_agent::log::{Entry, Io, Key, Log, LogKeys, PIN, Progress};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::rand_core::{TryCryptoRng, TryRng, utils};
use nrd_hal::{ErrorKind, ErrorType, Geometry, Region};
use std::ops::Range;

/// Randomness does not matter here.
struct Zeros;

impl TryRng for Zeros {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        utils::next_word_via_fill(self)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        utils::next_word_via_fill(self)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.fill(0);
        Ok(())
    }
}
impl TryCryptoRng for Zeros {}

/// Flash of sectors of 2 KiB, some of whose operations do nothing.
#[derive(Clone)]
struct Flash {
    cells: Vec<u8>,
    idle_programs: u32,
    idle_erases: u32,
    /// How reads fail.
    mute: Option<ErrorKind>,
    /// Operations so far.
    ops: u32,
    /// Where each program so far began, by the number of its operation.
    programs: Vec<(u32, u32)>,
    /// The power goes before the operation of this number.
    cut_at: u32,
    /// Operations of these numbers do nothing, and do not say so.
    idle: Range<u32>,
}

const SECTOR: u32 = 2048;

impl Flash {
    fn new(sectors: u32) -> Flash {
        Flash {
            cells: vec![0xA5; (sectors * SECTOR) as usize],
            idle_programs: 0,
            idle_erases: 0,
            mute: None,
            ops: 0,
            programs: Vec::new(),
            cut_at: u32::MAX,
            idle: 0..0,
        }
    }

    /// Counts one operation; an error once the power has gone. True when it does
    /// nothing.
    fn operate(&mut self) -> Result<bool, ErrorKind> {
        if self.ops == self.cut_at {
            return Err(ErrorKind::Unavailable);
        }
        self.ops += 1;
        Ok(self.idle.contains(&(self.ops - 1)))
    }

    /// The power comes back.
    fn power_on(&mut self) {
        self.cut_at = u32::MAX;
        self.idle_erases = 0;
    }
}

/// Counts one down; true while there was one.
fn one_of(n: &mut u32) -> bool {
    let was = *n;
    *n = was.saturating_sub(1);
    was > 0
}

impl ErrorType for Flash {
    type Error = ErrorKind;
}

impl Region for Flash {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.cells.len() as u32,
            write_size: 4,
            erase_size: SECTOR,
            best_erase: SECTOR,
        }
    }
    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        bytes.copy_from_slice(&self.cells[at as usize..at as usize + bytes.len()]);
        self.mute.map_or(Ok(()), Err)
    }
    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.programs.push((self.ops, at));
        let idle = self.operate()?;
        let cells = &mut self.cells[at as usize..at as usize + bytes.len()];
        assert!(
            cells.iter().all(|&c| c == 0xFF),
            "programmed over what was not erased"
        );
        if !one_of(&mut self.idle_programs) && !idle {
            cells.copy_from_slice(bytes);
        }
        Ok(())
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let idle = self.operate()?;
        if !one_of(&mut self.idle_erases) && !idle {
            self.cells[from as usize..to as usize].fill(0xFF);
        }
        Ok(())
    }
}

/// One boot of a log over `flash`.
struct Boot<'b> {
    log: Log<'b>,
    flash: &'b mut Flash,
    keys: LogKeys,
    scratch: Vec<u8>,
    /// Calls so far: a boot that goes on for ever fails its test.
    calls: u32,
}

/// What a boot lends its log.
#[derive(Default)]
struct Ram(Vec<u32>, Vec<Entry>);

impl<'b> Boot<'b> {
    fn new(flash: &'b mut Flash, ram: &'b mut Ram) -> Boot<'b> {
        *ram = Ram(vec![0; 32], vec![Entry::default(); 64]);
        Boot {
            log: Log::new(flash.geometry(), &mut ram.0, &mut ram.1, 0).unwrap(),
            flash,
            keys: LogKeys::new::<RingCrypto>(1, 7, &[1; 32]),
            scratch: vec![0; 8192],
            calls: 0,
        }
    }
    fn run<T>(
        &mut self,
        f: impl FnOnce(&mut Log<'b>, &mut Io<'_, Flash, Zeros, RingCrypto>) -> T,
    ) -> T {
        self.calls += 1;
        assert!(self.calls < 20_000, "the log does not come to rest");
        let mut zeros = Zeros;
        let mut io = Io::new(self.flash, &mut zeros, &mut self.keys, &mut self.scratch);
        f(&mut self.log, &mut io)
    }
    fn step(&mut self) -> Progress {
        self.run(|log, io| log.step(io)).unwrap()
    }
    fn settle(&mut self) {
        while self.step() == Progress::Working {}
    }
    fn try_put(&mut self, id: u16, value: &[u8]) -> Result<(), Error> {
        self.run(|log, io| log.put(io, key(id), value))
    }
    fn put(&mut self, id: u16, value: &[u8]) {
        while let Err(e) = self.try_put(id, value) {
            assert_eq!(e, Error::Busy);
            self.settle();
        }
    }
    fn remove(&mut self, id: u16) -> Result<(), Error> {
        self.run(|log, io| log.remove(io, key(id)))
    }
    fn get(&mut self, id: u16) -> Result<Vec<u8>, Error> {
        let mut out = [0; 2048];
        let n = self.run(|log, io| log.get(io, key(id), &mut out))?;
        Ok(out[..n].to_vec())
    }
}

fn key(id: u16) -> Key {
    Key { class: 1, id }
}

/// A value that is 500 bytes of its id.
fn value(id: u16) -> Vec<u8> {
    vec![id as u8; 500]
}

/// Fills several sectors with values 1 to 12.
fn filled() -> Flash {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    for id in 1..=12 {
        boot.put(id, &value(id));
    }
    flash
}

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
fn idle_erases_and_programs_of_an_opening_are_noticed_and_lose_nothing() {
    for idle in 0..4 {
        let mut flash = filled();
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        (boot.flash.idle_erases, boot.flash.idle_programs) = (idle, 3 - idle);
        // Flash itself says when something is programmed over old cells.
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
fn until_every_member_was_read_nothing_is_called_not_there() {
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
                if boot.step() == Progress::Idle {
                    break;
                }
            }
            assert!(early > 2, "several steps");
            assert_eq!(boot.get(id), Ok(value(id)));
        }
    }
}

#[test]
fn until_every_member_was_read_nothing_is_written_or_removed() {
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
fn the_pinned_record_is_known_before_the_members_are_read() {
    for (pinned, expected) in [
        (Some(&b"session"[..]), Ok(b"session".to_vec())),
        (None, Err(Error::NotFound)),
    ] {
        let mut flash = Flash::new(9);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        boot.settle();
        if let Some(value) = pinned {
            while boot.run(|log, io| log.put(io, PIN, value)) == Err(Error::Busy) {
                boot.settle();
            }
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
        assert_eq!(boot.get(1), Err(Error::Busy), "not read yet");
        let got = boot.run(|log, io| log.get(io, PIN, &mut out));
        assert_eq!(got.map(|n| out[..n].to_vec()), expected);
        boot.settle();
        assert_eq!(boot.get(1), Ok(value(1)));
    }
}

#[test]
fn a_read_that_fails_is_corrupt_where_the_part_says_so_and_else_to_be_tried_again() {
    let mut flash = filled();
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.settle();
    for (kind, error) in [
        (ErrorKind::Ecc, Error::Corrupt),
        (ErrorKind::Unavailable, Error::Hardware),
    ] {
        boot.flash.mute = Some(kind);
        assert_eq!(boot.get(3), Err(error));
        boot.flash.mute = None;
        assert_eq!(boot.get(3), Ok(value(3)));
    }
}

#[test]
fn a_record_that_a_cut_may_have_torn_is_not_served_before_it_is_written_anew() {
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
fn a_lost_record_makes_what_is_older_corrupt_and_nothing_that_is_newer() {
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
fn the_room_of_deleted_values_is_given_back_before_a_log_is_called_full() {
    let mut flash = Flash::new(4);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    let mut counts = Vec::new();
    for round in 1..4 {
        // Keys that no marker stands for yet.
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
fn a_genuine_record_in_anothers_place_is_corrupt_even_if_it_is_put_there_while_running() {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    // An older and a newer version of one key, and another key.
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

/// Boots, and writes value 1 anew; the power may go.
fn written(flash: &mut Flash) -> bool {
    let mut ram = Ram::default();
    let mut boot = Boot::new(flash, &mut ram);
    loop {
        match boot.try_put(1, &value(99)) {
            Ok(()) => return true,
            Err(Error::Busy) => {}
            Err(_) => return false,
        }
        loop {
            match boot.run(|log, io| log.step(io)) {
                Ok(Progress::Idle) => break,
                Ok(Progress::Working) => {}
                Err(_) => return false,
            }
        }
    }
}

/// The first opening of the next boot that writes: its header's operation and
/// its sector.
fn opening(flash: &Flash) -> (u32, u32) {
    let mut probe = flash.clone();
    assert!(written(&mut probe));
    let new = probe.programs[flash.programs.len()..].iter();
    let (op, at) = new
        .copied()
        .find(|(_, at)| at % SECTOR == 0)
        .expect("a boot that writes opens a sector");
    (op, at / SECTOR)
}

fn all_there(flash: &mut Flash, first: &[u8], why: &str) {
    let mut ram = Ram::default();
    let mut boot = Boot::new(flash, &mut ram);
    boot.settle();
    assert!(boot.get(1).as_deref() == Ok(first), "{why}: value 1");
    for id in 2..=12 {
        assert!(boot.get(id) == Ok(value(id)), "{why}: value {id}");
    }
}

/// What was cut before its second word may be a sector whose erase was begun by
/// a boot that did not read its header: it counts only if it is whole.
#[test]
fn a_sector_cut_before_its_second_word_and_torn_since_hides_nothing() {
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
        // Every place that an erase may have reached first.
        for at in cells.step_by(97) {
            let mut torn = cut.clone();
            torn.cells[at] = 0xFF;
            torn.cells[at + 1] = 0xFF;
            all_there(
                &mut torn,
                &value(1),
                &format!("{words} words, torn at {at}"),
            );
        }
    }
}

/// A header that reads badly at one boot and well at a later one must not stand
/// above what was written in between.
#[test]
fn a_sector_with_an_unreadable_header_is_gone_before_anything_is_written() {
    let mut seen = 0;
    for rounds in 0..12 {
        let mut flash = filled();
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        for n in 0..60 + rounds {
            let id = 1 + n % 12;
            boot.put(id, &value(id));
        }
        let (_, refuses) = opening(&flash);
        // The next sector in turn does not erase in this boot, so that another
        // one is opened, and is cut after its first word.
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
        let fields = at + 4..at + 8;
        let well = flash.cells[fields.clone()].to_vec();
        let badly: Vec<u8> = well.iter().map(|b| b ^ 0x14).collect();
        flash.cells[fields.clone()].copy_from_slice(&badly);
        assert!(written(&mut flash));
        if flash.cells[fields.clone()] == badly {
            flash.cells[fields].copy_from_slice(&well);
        }
        all_there(&mut flash, &value(99), &format!("after {rounds} more"));
    }
    assert!(seen > 0, "the sectors were never so");
}

/// Puts values until the log is full; the first id that it did not take.
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

fn remove(boot: &mut Boot<'_>, id: u16) {
    while let Err(e) = boot.remove(id) {
        assert_eq!(e, Error::Busy);
        boot.settle();
    }
}

/// Some operations in a row do nothing, in a log so full that each opening has
/// to empty a member, and members are not read yet: after a boot, or because an
/// opening failed. One such operation costs no room; four give a sector up.
#[test]
fn idle_operations_on_a_nearly_full_log_lose_nothing() {
    // The second kind fills three sectors so that two cannot hold it.
    for (sectors, deleted, size) in [(9, 0, 500), (9, 8, 500), (5, 0, 460), (5, 2, 460)] {
        let mut flash = Flash::new(sectors);
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        let full = put_until_full(&mut boot, 1..60, size);
        assert!(full < 60, "it was never full");
        for id in full - deleted..full {
            remove(&mut boot, id);
        }
        // A boot writes until the log is full again: the room of what was deleted
        // is given back, sector by sector. Then it removes one of the others.
        let life = |flash: &mut Flash| {
            let mut ram = Ram::default();
            let mut boot = Boot::new(flash, &mut ram);
            let end = put_until_full(&mut boot, 100..200, size);
            remove(&mut boot, 1);
            end
        };
        let mut probe = flash.clone();
        let more = life(&mut probe);
        for at in flash.ops..probe.ops {
            for len in [1, 4] {
                let mut flash = flash.clone();
                flash.idle = at..at + len;
                let end = life(&mut flash);
                let why = format!("{len} idle from operation {at}");
                assert!(len > 1 || end == more, "{why}: room is lost");
                let mut ram = Ram::default();
                let mut boot = Boot::new(&mut flash, &mut ram);
                boot.settle();
                assert_eq!(boot.get(1), Err(Error::NotFound), "{why}");
                for id in (2..full - deleted).chain(100..end) {
                    assert!(
                        boot.get(id) == Ok(vec![id as u8; size]),
                        "{why}: value {id} is lost"
                    );
                }
            }
        }
    }
}

#[test]
fn a_log_says_what_it_is_and_when_it_has_something_to_do() {
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
    assert_eq!(boot.step(), Progress::Working);
    assert!(boot.log.needs_step(), "mounted, and the members unread");
    boot.settle();
    assert!(
        !boot.log.needs_step(),
        "the record in doubt was written anew"
    );

    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.settle();
    let programs = boot.flash.programs.len();
    boot.log.want_writable();
    assert!(boot.log.needs_step(), "a sector is wanted");
    assert_eq!(boot.step(), Progress::Working);
    assert!(boot.log.needs_step(), "one is being opened");
    boot.settle();
    assert_eq!(boot.flash.programs.len() - programs, 3 + 3, "three copies");
    boot.log.want_writable();
    assert!(!boot.log.needs_step(), "there is one");
}

#[test]
fn a_dropped_class_is_gone_and_no_other() {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    for class in 1..4 {
        let key = Key { class, id: 0 };
        while boot.run(|log, io| log.put(io, key, b"value")) == Err(Error::Busy) {
            boot.settle();
        }
    }
    boot.log.drop_class(2);
    let kept: Vec<u8> = boot.log.keys().map(|k| k.class).collect();
    assert_eq!(kept, [1, 3]);
    // The record in doubt after a boot goes with its class, else it stays.
    for class in [3, 1] {
        let mut ram = Ram::default();
        let mut boot = Boot::new(&mut flash, &mut ram);
        assert_eq!(boot.step(), Progress::Working);
        assert!(!boot.log.is_settled(), "the last record is in doubt");
        boot.log.drop_class(class);
        assert_eq!(boot.log.is_settled(), class == 3);
    }
}

#[test]
fn sectors_that_other_keys_made_do_not_count() {
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

/// Until the next boot: what does not erase is not tried again and again.
#[test]
fn a_sector_found_bad_is_left_alone_even_when_the_log_is_read_anew() {
    let mut flash = filled();
    let (_, bad) = opening(&flash);
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
    assert!(!opened.contains(&bad), "sector {bad} was opened again");
    let others = (0..9).filter(|s| opened.contains(s));
    assert!(others.count() > 4, "it went round");
}
