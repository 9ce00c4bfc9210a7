//! wasefire-store.

use nrd_hal::Geometry;
use nrd_tests::measure::engine::{Engine, Refusal};
use nrd_tests::measure::flash::{Nor, Tally};
use std::borrow::Cow;
use std::rc::Rc;
use wasefire_error::{Code, Error};
use wasefire_store::{NO_CAPACITY, Storage, StorageIndex, Store, fragment};

struct Part(Nor, Geometry);

impl Part {
    fn at(&self, index: StorageIndex) -> u32 {
        index.page as u32 * self.1.erase_size + index.byte as u32
    }
}

impl Storage for Part {
    fn word_size(&self) -> usize {
        4
    }
    fn page_size(&self) -> usize {
        self.1.erase_size as usize
    }
    fn num_pages(&self) -> usize {
        (self.1.size / self.1.erase_size) as usize
    }
    fn max_word_writes(&self) -> usize {
        2
    }
    fn max_page_erases(&self) -> usize {
        65_535
    }
    fn read_slice(&self, index: StorageIndex, length: usize) -> Result<Cow<'_, [u8]>, Error> {
        Ok(Cow::Borrowed(self.0.slice(self.at(index), length)))
    }
    fn write_slice(&mut self, index: StorageIndex, value: &[u8]) -> Result<(), Error> {
        let at = self.at(index);
        let done = self.0.nor_program(at, value);
        done.map_err(|_| Error::world(Code::Generic))
    }
    fn erase_page(&mut self, page: usize) -> Result<(), Error> {
        let from = page as u32 * self.1.erase_size;
        let done = self.0.nor_erase(from, from + self.1.erase_size);
        done.map_err(|_| Error::world(Code::Generic))
    }
}

struct Wasefire {
    store: Store<Part>,
    tally: Rc<Tally>,
    /// Keys that one value takes: values over 1023 bytes are fragmented.
    parts: usize,
}

fn refusal(e: Error) -> Refusal {
    match e == NO_CAPACITY {
        true => Refusal::Full,
        false => Refusal::Failed(format!("{e:?}")),
    }
}

impl Wasefire {
    fn keys(&self, key: u16) -> std::ops::Range<usize> {
        let first = usize::from(key) * self.parts;
        first..first + self.parts
    }
}

impl Engine for Wasefire {
    fn name(&self) -> String {
        "wasefire-store 0.3.2".to_owned()
    }
    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal> {
        if value.len() <= self.store.max_value_length() && self.parts == 1 {
            return self.store.insert(usize::from(key), value).map_err(refusal);
        }
        self.parts = 2;
        let keys = self.keys(key);
        fragment::write(&mut self.store, &keys, value).map_err(refusal)
    }
    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize> {
        let value = match self.parts {
            1 => self.store.find(usize::from(key)).ok()??,
            _ => fragment::read(&self.store, &self.keys(key)).ok()??,
        };
        out.get_mut(..value.len())?.copy_from_slice(&value);
        Some(value.len())
    }
    fn remove(&mut self, key: u16) -> Result<(), Refusal> {
        match self.parts {
            1 => self.store.remove(usize::from(key)),
            _ => {
                let keys = self.keys(key);
                fragment::delete(&mut self.store, &keys)
            }
        }
        .map_err(refusal)
    }
    fn tally(&self) -> Rc<Tally> {
        self.tally.clone()
    }
    fn cells(self: Box<Self>) -> Vec<u8> {
        self.store.extract_storage().0.cells().to_vec()
    }
}

pub(super) fn build(g: Geometry) -> Option<Box<dyn Engine>> {
    if g.write_size > 4 {
        return None;
    }
    let nor = Nor::multiwrite(g);
    let tally = nor.tally();
    let store = Store::new(Part(nor, g)).ok()?;
    Some(Box::new(Wasefire {
        store,
        tally,
        parts: 1,
    }))
}
