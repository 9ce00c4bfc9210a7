//! The maker's model list: what its models are built of. Signed by the maker
//! root, dated, numbered (SPEC §9).

use nrd_agent::Error;
use nrd_agent::wire::codec::{Blank, Code, Reader, Writer};
use nrd_agent::wire::{Body, DeviceKind, decode_signed, encode_signed};
use nrd_hal::crypto::RingCrypto;
use nrd_verifier::{MakerLists, ModelData};
use ring::signature::Ed25519KeyPair;
use serde::{Deserialize, Serialize};

/// What the maker says of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// The model, as its certificates name it.
    pub model: String,
    /// Index of its kind (SPEC §9): 0 set-top box, 1 console, 2 computer.
    pub kind: u8,
    /// Sectors of its vault.
    pub sectors: u32,
    /// Size of its vault.
    pub vault_bytes: u32,
    /// An erase of its key slots physically destroys what was in them.
    pub physical: bool,
    /// Its key slots lie outside the flash image.
    pub slots_outside_image: bool,
    /// Its root key refuses past epochs.
    pub root_refuses_past: bool,
}

/// A model list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// Its number; each new list has a higher one.
    pub number: u32,
    /// When it was made, Unix seconds.
    pub issued_at: u64,
    /// When the next one is due, Unix seconds. What a model is built of does
    /// not change: a late list still counts for the models that it has.
    pub next_update: u64,
    /// The models.
    pub models: Vec<ModelEntry>,
}

/// No device reads this: it goes through serde and postcard.
impl Code<'_> for ModelList {
    fn write(&self, writer: &mut Writer<'_>) {
        match postcard::to_stdvec(self) {
            Ok(bytes) => writer.bytes(&bytes),
            Err(_) => writer.fail(),
        }
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        match postcard::take_from_bytes(reader.rest()) {
            Ok((list, [])) => *self = list,
            _ => reader.fail(),
        }
    }
}

impl Blank for ModelList {
    const BLANK: Self = ModelList {
        number: 0,
        issued_at: 0,
        next_update: 0,
        models: Vec::new(),
    };
}

impl Body<'_> for ModelList {
    const CONTEXT: &'static [u8] = b"nrd/1/model-list\0";
    const MAX: usize = 1 << 20;
}

impl ModelList {
    /// Reads a list that `maker_root` must have signed.
    pub fn read(frame: &[u8], maker_root: &[u8; 32]) -> Result<ModelList, Error> {
        decode_signed::<_, RingCrypto>(frame, maker_root)
    }

    /// Signs it. `NoSpace` beyond 1 MiB.
    pub fn sign(&self, maker: &Ed25519KeyPair) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; Self::MAX];
        let n = encode_signed::<_, Error>(self, &mut out, |text| {
            let mut signature = [0; 64];
            signature.copy_from_slice(maker.sign(text).as_ref());
            Ok(signature)
        })?;
        out.truncate(n);
        Ok(out)
    }
}

impl MakerLists for ModelList {
    fn model(&self, model: &str) -> Option<Option<ModelData>> {
        let entry = self.models.iter().find(|e| e.model == model);
        Some(entry.and_then(|e| {
            let kind = match e.kind {
                0 => DeviceKind::SetTopBox,
                1 => DeviceKind::Console,
                2 => DeviceKind::Computer,
                _ => return None,
            };
            Some(ModelData {
                kind,
                sectors: e.sectors,
                vault_bytes: e.vault_bytes,
                physical: e.physical,
                slots_outside_image: e.slots_outside_image,
                root_refuses_past: e.root_refuses_past,
            })
        }))
    }

    /// The status list is held against the verdict by [`super::StatusList`].
    fn revoked(&self, _: &str, _: &str, _: [u8; 3]) -> Option<bool> {
        None
    }
}
