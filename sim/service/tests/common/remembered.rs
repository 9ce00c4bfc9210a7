//! A device with a token, made by hand.

use super::{Device, Heard, account};
use nrd_agent::wire::{ActivationId, Ask, Generation, PROOF_CONTEXT, PolicyVersion, TokenProof};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_service::Service;
use nrd_sim_service::store::ActivationRow;
use std::sync::Arc;

/// Seconds that it waits for an answer.
pub(crate) const WAIT_S: u64 = 25;

/// Transactions for writing so far.
pub(crate) fn writes(service: &Service) -> u64 {
    let metrics = service.metrics();
    let mut lines = metrics.lines();
    let line = lines.find(|l| l.starts_with("nrd_store_writes_total"));
    line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// A device with a token.
pub(crate) struct Remembered {
    pub(crate) device: Device,
    pub(crate) row: ActivationRow,
    pub(crate) generation: u32,
}

impl Remembered {
    /// Active, and at rest: its last answer brought a challenge that is held.
    pub(crate) fn at(service: &Arc<Service>) -> Remembered {
        let mut device = Device::new(service);
        let holder = account(service);
        let row = device.activate(1, holder);
        let mut it = Remembered {
            device,
            row,
            generation: 1,
        };
        assert_eq!(it.check_in().refused, None);
        it
    }

    pub(crate) fn frame(&self, renew: bool) -> Vec<u8> {
        let Device {
            service, challenge, ..
        } = &self.device;
        let token = service.keys.token(&self.row.series, self.generation);
        let mac = RingCrypto::hmac(token.as_ref(), &[PROOF_CONTEXT, challenge, &[7; 16]]);
        self.device.request(Ask::CheckIn {
            activation_id: ActivationId(self.row.id),
            epoch: 0,
            proof: Some(TokenProof {
                generation: Generation(self.generation),
                mac,
            }),
            renew,
            wait_s: WAIT_S as u16,
            powered_s: 0,
            policy: PolicyVersion(1),
        })
    }

    pub(crate) fn check_in(&mut self) -> Heard {
        let frame = self.frame(false);
        self.device.post(&frame)
    }

    pub(crate) fn now(&self) -> ActivationRow {
        let row = self.device.service.store.activation(&self.row.id);
        row.unwrap().unwrap()
    }
}
