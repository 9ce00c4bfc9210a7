//! littlefs through littlefs2: one file a value.

use littlefs2::consts::{U2, U512};
use littlefs2::driver::Storage;
use littlefs2::fs::{Allocation, Filesystem};
use littlefs2::io::{Error, Result as IoResult};
use littlefs2::path::PathBuf;
use nrd_hal::Geometry;
use nrd_tests::measure::engine::{Engine, Refusal};
use nrd_tests::measure::flash::{Nor, Tally};
use std::cell::RefCell;
use std::rc::Rc;

/// Sixteen blocks of 4 KiB; the trait wants constants.
struct Part(Rc<RefCell<Nor>>);

impl Storage for Part {
    const READ_SIZE: usize = 16;
    const WRITE_SIZE: usize = 16;
    const BLOCK_SIZE: usize = 4096;
    const BLOCK_COUNT: usize = 16;
    const BLOCK_CYCLES: isize = 500;
    type CACHE_SIZE = U512;
    type LOOKAHEAD_SIZE = U2;

    fn read(&mut self, off: usize, buf: &mut [u8]) -> IoResult<usize> {
        let done = self.0.borrow().nor_read(off as u32, buf);
        done.map(|()| buf.len()).map_err(|_| Error::IO)
    }
    fn write(&mut self, off: usize, data: &[u8]) -> IoResult<usize> {
        let done = self.0.borrow_mut().nor_program(off as u32, data);
        done.map(|()| data.len()).map_err(|_| Error::IO)
    }
    fn erase(&mut self, off: usize, len: usize) -> IoResult<usize> {
        let done = self
            .0
            .borrow_mut()
            .nor_erase(off as u32, (off + len) as u32);
        done.map(|()| len).map_err(|_| Error::IO)
    }
}

struct Littlefs {
    /// Its memory is leaked: a measurement makes a few.
    fs: Filesystem<'static, Part>,
    nor: Rc<RefCell<Nor>>,
    tally: Rc<Tally>,
}

fn path(key: u16) -> PathBuf {
    PathBuf::try_from(format!("{key:04x}").as_str()).unwrap_or_default()
}

fn refusal(e: Error) -> Refusal {
    match e {
        Error::NO_SPACE => Refusal::Full,
        e => Refusal::Failed(format!("{e:?}")),
    }
}

impl Engine for Littlefs {
    fn name(&self) -> String {
        "littlefs2 0.8.1".to_owned()
    }
    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal> {
        self.fs.write(&path(key), value).map_err(refusal)
    }
    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize> {
        self.fs.open_file_and_then(&path(key), |f| f.read(out)).ok()
    }
    fn remove(&mut self, key: u16) -> Result<(), Refusal> {
        self.fs.remove(&path(key)).map_err(refusal)
    }
    fn tally(&self) -> Rc<Tally> {
        self.tally.clone()
    }
    fn cells(self: Box<Self>) -> Vec<u8> {
        self.nor.borrow().cells().to_vec()
    }
}

pub(super) fn build(g: Geometry) -> Option<Box<dyn Engine>> {
    if g.write_size > 16 || g.erase_size != 4096 || g.size != 65_536 {
        return None;
    }
    let nor = Rc::new(RefCell::new(Nor::new(g)));
    let tally = nor.borrow().tally();
    let part = Box::leak(Box::new(Part(nor.clone())));
    Filesystem::format(part).ok()?;
    let alloc: &'static mut Allocation<Part> = Box::leak(Box::new(Filesystem::allocate()));
    let fs = Filesystem::mount(alloc, part).ok()?;
    Some(Box::new(Littlefs { fs, nor, tally }))
}
