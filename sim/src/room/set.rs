//! One device of the room, as the rest of the room sees it.

use super::face::{Face, Key};
use super::flash::Struck;
use super::life;
use super::power::Plug;
use crate::desk::Challenge;
use crate::hw::{Chip, ChipSpec, Hardware, device_key, maker_certificate};
use crate::service::Service;
use crate::service::sample::Sample;
use crate::sign;
use nrd_agent::wire::DeviceKind;
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Crypto as _, Geometry};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What is done to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A key of its remote.
    Key(Key),
    /// The network plug.
    Network(bool),
    /// Time passes, in seconds.
    Advance(u64),
    /// A returns desk asks.
    Prove(Challenge),
    /// Look at the plug.
    Wake,
}

/// What thread and room share.
pub(super) struct Inner {
    pub(super) id: String,
    pub(super) kind: DeviceKind,
    pub(super) root: [u8; 32],
    pub(super) certificate: Vec<u8>,
    pub(super) hw: Hardware,
    pub(super) plug: Arc<Plug>,
    pub(super) service: Arc<Service>,
    pub(super) samples: Vec<Sample>,
    face: Mutex<Face>,
    struck: Mutex<Vec<Struck>>,
    draws: AtomicU64,
    news: Arc<dyn Fn() + Send + Sync>,
}

impl Inner {
    /// Puts a face on the screen.
    pub(super) fn show(&self, face: Face) {
        let mut shown = self.face.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != face {
            *shown = face;
            drop(shown);
            (self.news)();
        }
    }

    /// The power is gone: notes what the cut struck, if it struck anything.
    pub(super) fn power_off(&self) {
        let mut chip = self.hw.chip();
        chip.power_off();
        if let Some(op) = chip.struck()
            && op.len > 0
        {
            let unit = op.at / chip.spec().geometry.erase_size;
            let wear = chip.wear().get(unit as usize).copied().unwrap_or(0);
            let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
            struck.push((op.at, op.len, wear));
        }
    }

    /// The seed of the next boot.
    pub(super) fn next_seed(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::SeqCst)
    }
}

/// A device of the room.
pub struct Set {
    /// Its place in the room, from 1.
    pub number: usize,
    /// Where it stands.
    pub place: &'static str,
    /// Model, in words.
    pub model: &'static str,
    pub(super) inner: Arc<Inner>,
    acts: Sender<Act>,
}

/// What stands where.
pub(super) struct Plan {
    pub(super) place: &'static str,
    pub(super) model: &'static str,
    pub(super) id: &'static str,
    pub(super) kind: DeviceKind,
}

impl Set {
    pub(super) fn new(
        number: usize,
        plan: &Plan,
        service: &Arc<Service>,
        samples: &[Sample],
        seed: u64,
        slow: u32,
        news: Arc<dyn Fn() + Send + Sync>,
    ) -> Set {
        let spec = ChipSpec {
            // A partition of a W25Q128JV; erased by sectors of 4 KiB, so that
            // each is seen.
            geometry: Geometry {
                size: 256 * 1024,
                write_size: 1,
                erase_size: 4096,
                best_erase: 4096,
            },
            can_overwrite: true,
        };
        let root = RingCrypto::hkdf(b"nrd/sim/room", &seed.to_le_bytes(), &[plan.id.as_bytes()]);
        let public = sign::public(&device_key(&root, plan.id));
        let maker = service.keys.maker();
        let plug = Plug::new(slow);
        let told = news.clone();
        let hw = Hardware::paced(Chip::blank(spec, seed), plug.pace(move || told()));
        let inner = Arc::new(Inner {
            id: plan.id.to_owned(),
            kind: plan.kind,
            root,
            certificate: maker_certificate(maker, plan.id, public, plan.model, plan.kind),
            hw,
            plug,
            service: service.clone(),
            samples: samples.to_vec(),
            face: Mutex::default(),
            struck: Mutex::default(),
            draws: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number as u64),
            news,
        });
        let (acts, inbox) = channel();
        let theirs = inner.clone();
        std::thread::spawn(move || life::run(&theirs, &inbox));
        Set {
            number,
            place: plan.place,
            model: plan.model,
            inner,
            acts,
        }
    }

    /// Its device id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Its kind.
    pub fn kind(&self) -> DeviceKind {
        self.inner.kind
    }

    /// Its root secret: what an adversary with a microscope has.
    pub fn root(&self) -> [u8; 32] {
        self.inner.root
    }

    /// Its flash.
    pub fn hardware(&self) -> &Hardware {
        &self.inner.hw
    }

    /// Operations that cuts have struck.
    pub fn struck(&self) -> Vec<Struck> {
        let struck = self.inner.struck.lock();
        struck.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its screen shows.
    pub fn face(&self) -> Face {
        let face = self
            .inner
            .face
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        face.clone()
    }

    pub(super) fn act(&self, act: Act) {
        // The thread lives as long as this.
        let _ = self.acts.send(act);
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.inner.plug.pull();
    }
}
