//! ekv.

use super::now;
use ::ekv::flash::{Flash, PageID};
use ::ekv::{CommitError, Config, Database, WriteError};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use nrd_hal::{ErrorKind, Geometry};
use nrd_tests::measure::engine::{Engine, Refusal};
use nrd_tests::measure::flash::{Nor, Tally};
use std::rc::Rc;

struct Part(Nor, Geometry);

impl Part {
    fn at(&self, page: PageID, offset: usize) -> u32 {
        page.index() as u32 * self.1.erase_size + offset as u32
    }
}

impl Flash for Part {
    type Error = ErrorKind;
    fn page_count(&self) -> usize {
        (self.1.size / self.1.erase_size) as usize
    }
    async fn erase(&mut self, page: PageID) -> Result<(), ErrorKind> {
        let from = self.at(page, 0);
        self.0.nor_erase(from, from + self.1.erase_size)
    }
    async fn read(&mut self, page: PageID, at: usize, out: &mut [u8]) -> Result<(), ErrorKind> {
        self.0.nor_read(self.at(page, at), out)
    }
    async fn write(&mut self, page: PageID, at: usize, bytes: &[u8]) -> Result<(), ErrorKind> {
        let at = self.at(page, at);
        self.0.nor_program(at, bytes)
    }
}

struct Ekv {
    db: Database<Part, NoopRawMutex>,
    tally: Rc<Tally>,
}

impl Ekv {
    fn write(&mut self, key: u16, value: Option<&[u8]>) -> Result<(), Refusal> {
        now(async {
            let key = key.to_be_bytes();
            let mut t = self.db.write_transaction().await;
            let wrote = match value {
                Some(value) => t.write(&key, value).await,
                None => t.delete(&key).await,
            };
            match wrote {
                Ok(()) => {}
                Err(WriteError::Full) => return Err(Refusal::Full),
                Err(e) => return Err(Refusal::Failed(format!("{e:?}"))),
            }
            t.commit().await.map_err(|e| match e {
                CommitError::Corrupted => Refusal::Failed("corrupted".to_owned()),
                e => Refusal::Failed(format!("{e:?}")),
            })
        })
    }
}

impl Engine for Ekv {
    fn name(&self) -> String {
        "ekv 1.0.0".to_owned()
    }
    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal> {
        self.write(key, Some(value))
    }
    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize> {
        now(async {
            let t = self.db.read_transaction().await;
            t.read(&key.to_be_bytes(), out).await.ok()
        })
    }
    fn remove(&mut self, key: u16) -> Result<(), Refusal> {
        self.write(key, None)
    }
    fn tally(&self) -> Rc<Tally> {
        self.tally.clone()
    }
    fn cells(self: Box<Self>) -> Vec<u8> {
        now(async { self.db.lock_flash().await.0.cells().to_vec() })
    }
}

pub(super) fn build(g: Geometry) -> Option<Box<dyn Engine>> {
    if g.write_size > 4 || g.erase_size != 4096 {
        return None;
    }
    let nor = Nor::new(g);
    let tally = nor.tally();
    let db = Database::new(Part(nor, g), Config::default());
    now(db.format()).ok()?;
    Some(Box::new(Ekv { db, tally }))
}
