//! sequential-storage.

use super::now;
use embedded_storage_async::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use nrd_hal::{ErrorKind, Geometry};
use nrd_tests::measure::engine::{Engine, Refusal};
use nrd_tests::measure::flash::{Nor, Tally};
use sequential_storage::cache::key_pointers::HeapKeyPointers;
use sequential_storage::cache::page_pointers::HeapPagePointers;
use sequential_storage::cache::page_states::HeapPageStates;
use sequential_storage::cache::{Cache, CacheImpl};
use sequential_storage::map::{MapConfig, MapStorage};
use std::rc::Rc;

/// The part, with its write unit fixed as the traits want it.
struct Part<const W: usize>(Nor);

#[derive(Debug)]
struct PartError(ErrorKind);

impl NorFlashError for PartError {
    fn kind(&self) -> NorFlashErrorKind {
        match self.0 {
            ErrorKind::NotAligned => NorFlashErrorKind::NotAligned,
            ErrorKind::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl<const W: usize> ErrorType for Part<W> {
    type Error = PartError;
}

impl<const W: usize> ReadNorFlash for Part<W> {
    const READ_SIZE: usize = 1;
    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PartError> {
        self.0.nor_read(offset, bytes).map_err(PartError)
    }
    fn capacity(&self) -> usize {
        self.0.cells().len()
    }
}

impl<const W: usize> NorFlash for Part<W> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = 4096;
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), PartError> {
        self.0.nor_erase(from, to).map_err(PartError)
    }
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PartError> {
        self.0.nor_program(offset, bytes).map_err(PartError)
    }
}

impl<const W: usize> MultiwriteNorFlash for Part<W> {}

struct Map<const W: usize, C: CacheImpl<u16>> {
    name: &'static str,
    map: MapStorage<u16, Part<W>, C>,
    tally: Rc<Tally>,
    buf: Vec<u8>,
}

impl<const W: usize, C: CacheImpl<u16>> Engine for Map<W, C> {
    fn name(&self) -> String {
        self.name.to_owned()
    }
    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal> {
        now(self.map.store_item(&mut self.buf, &key, &value)).map_err(|e| match e {
            sequential_storage::Error::FullStorage => Refusal::Full,
            e => Refusal::Failed(format!("{e:?}")),
        })
    }
    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize> {
        let value: &[u8] = now(self.map.fetch_item(&mut self.buf, &key)).ok()??;
        out.get_mut(..value.len())?.copy_from_slice(value);
        Some(value.len())
    }
    fn remove(&mut self, key: u16) -> Result<(), Refusal> {
        now(self.map.remove_item(&mut self.buf, &key))
            .map_err(|e| Refusal::Failed(format!("{e:?}")))
    }
    fn tally(&self) -> Rc<Tally> {
        self.tally.clone()
    }
    fn cells(self: Box<Self>) -> Vec<u8> {
        let (part, _) = self.map.destroy();
        part.0.cells().to_vec()
    }
}

/// `keys` is how many key pointers to cache; `None` caches nothing at all.
pub(super) fn build(g: Geometry, keys: Option<u16>) -> Option<Box<dyn Engine>> {
    if g.erase_size != 4096 {
        return None;
    }
    match g.write_size {
        1 => Some(with::<1>(g, keys)),
        4 => Some(with::<4>(g, keys)),
        32 => Some(with::<32>(g, keys)),
        _ => None,
    }
}

fn with<const W: usize>(g: Geometry, keys: Option<u16>) -> Box<dyn Engine> {
    let nor = Nor::multiwrite(g);
    let tally = nor.tally();
    let config = MapConfig::new(0..g.size);
    let pages = (g.size / g.erase_size) as usize;
    let buf = vec![0; 4096];
    match keys {
        None => Box::new(Map {
            name: "sequential-storage 8.0.2, no cache",
            map: MapStorage::new(Part::<W>(nor), config, Cache::new_uncached()),
            tally,
            buf,
        }),
        Some(keys) => Box::new(Map {
            name: "sequential-storage 8.0.2, all caches",
            map: MapStorage::new(
                Part::<W>(nor),
                config,
                Cache::new(
                    HeapPageStates::new(pages),
                    HeapPagePointers::new(pages),
                    HeapKeyPointers::new(usize::from(keys)),
                ),
            ),
            tally,
            buf,
        }),
    }
}
