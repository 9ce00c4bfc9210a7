//! One device of the room, as the rest of the room sees it.

use super::device_thread;
use super::flash::Struck;
use super::power::Plug;
use super::recording::Shared;
use super::screen::{Face, Key};
use nrd_agent::wire::DeviceKind;
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Crypto as _, Geometry};
use nrd_sim_base::sample::Sample;
use nrd_sim_base::sign;
use nrd_sim_hw::{Chip, ChipSpec, Hardware, device_key, maker_certificate};
use nrd_sim_service::Service;
use nrd_sim_service::desk::Challenge;
use ring::signature::Ed25519KeyPair;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What is done to a device.
pub(super) enum RoomAct {
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
    /// Hand over the tape, and what is on the flash.
    Save(SyncSender<Saved>),
}

/// What a device heard since the room was opened, and what came of it.
pub(super) struct Saved {
    /// The tape; `None` if it became too long.
    pub(super) tape: Option<String>,
    /// SHA-256 of the flash.
    pub(super) flash: [u8; 32],
}

/// What thread and room share.
pub(super) struct Inner {
    pub(super) id: String,
    pub(super) kind: DeviceKind,
    pub(super) root: [u8; 32],
    pub(super) certificate: Vec<u8>,
    pub(super) hw: Hardware,
    pub(super) plug: Arc<Plug>,
    pub(super) service_root: [u8; 32],
    pub(super) tape: Shared,
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

    /// Hands over what was heard so far.
    pub(super) fn save(&self, to: &SyncSender<Saved>) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        // Who asked may have gone.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "the other end may have gone"
        )]
        let _ = to.send(Saved {
            tape: tape.text(),
            flash: self.flash(),
        });
    }

    /// SHA-256 of the flash.
    pub(super) fn flash(&self) -> [u8; 32] {
        RingCrypto::sha256(self.hw.chip().cells())
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
    acts: Sender<RoomAct>,
}

/// What stands where.
pub(super) struct DevicePlan {
    pub(super) place: &'static str,
    pub(super) model: &'static str,
    pub(super) id: &'static str,
    pub(super) kind: DeviceKind,
}

/// A device of a room, or of a recording of one.
pub(super) struct Parts<'a> {
    pub(super) number: usize,
    pub(super) plan: &'a DevicePlan,
    pub(super) seed: u64,
    pub(super) maker: &'a Ed25519KeyPair,
    pub(super) service_root: [u8; 32],
    pub(super) samples: &'a [Sample],
    pub(super) slow: u32,
    pub(super) news: Arc<dyn Fn() + Send + Sync>,
}

impl Inner {
    pub(super) fn new(parts: Parts<'_>) -> Inner {
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
        let (plan, seed) = (parts.plan, parts.seed);
        let root = RingCrypto::hkdf(b"nrd/sim/room", &seed.to_le_bytes(), &[plan.id.as_bytes()]);
        let public = sign::public(&device_key(&root, plan.id));
        let plug = Plug::new(parts.slow);
        let tape = Shared::default();
        let told = parts.news.clone();
        let pace = plug.pace(tape.clone(), move || told());
        Inner {
            id: plan.id.to_owned(),
            kind: plan.kind,
            root,
            certificate: maker_certificate(parts.maker, plan.id, public, plan.model, plan.kind),
            hw: Hardware::paced(Chip::blank(spec, seed), pace),
            plug,
            service_root: parts.service_root,
            tape,
            samples: parts.samples.to_vec(),
            face: Mutex::new(Face::off(true)),
            struck: Mutex::default(),
            draws: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ parts.number as u64),
            news: parts.news,
        }
    }
}

impl Set {
    pub(super) fn new(parts: Parts<'_>, service: &Arc<Service>) -> Set {
        let (number, plan) = (parts.number, parts.plan);
        let (place, model) = (plan.place, plan.model);
        let inner = Arc::new(Inner::new(parts));
        let (acts, inbox) = channel();
        let theirs = inner.clone();
        let service = service.clone();
        std::thread::spawn(move || device_thread::run(&theirs, &service, &inbox));
        Set {
            number,
            place,
            model,
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

    pub(super) fn act(&self, act: RoomAct) {
        // The thread lives as long as this.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "the other end may have gone"
        )]
        let _ = self.acts.send(act);
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.inner.plug.pull();
    }
}
