//! The maker's model list: what its models are built of. Signed by the maker
//! root, dated, numbered (SPEC §9).

use super::lists::maker_list;
use nrd_agent::Error;
use nrd_agent::wire::codec::{Blank, Code, Reader, Writer};
use nrd_agent::wire::{Body, DeviceKind, decode_signed, encode_signed};
use nrd_hal::crypto::RingCrypto;
use nrd_verifier::ModelData;
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

maker_list!(ModelList, b"nrd/1/model-list\0", at most 1 << 20);

impl Blank for ModelList {
    const BLANK: Self = ModelList {
        number: 0,
        issued_at: 0,
        next_update: 0,
        models: Vec::new(),
    };
}

impl ModelList {
    /// What it says of a model; `None` for one that it does not have.
    pub fn data(&self, model: &str) -> Option<ModelData> {
        let e = self.models.iter().find(|e| e.model == model)?;
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
    }
}
