//! A device whose requests are made by hand, and its receipts.
#![allow(dead_code, reason = "each test program uses its part of it")]

pub(crate) mod remembered;

use nrd_agent::wire::{
    self, ActivationId, Answer, Ask, Delegation, DeviceId, DeviceKind, Losses, MakerCertificate,
    Method, Receipt, ReceiptFlags, RefusalCode, Reply, Request, SectorCounts, Subject,
    TrustVersion, WipeReason,
};
use nrd_sim_base::sign::{keypair, public, signed};
use nrd_sim_service::host::System;
use nrd_sim_service::store::{AccountId, ActivationRow, Sealed};
use nrd_sim_service::{Keys, Service, Settings};
use ring::signature::Ed25519KeyPair;
use std::sync::Arc;
/// A device of which there is nothing but its key.
pub(crate) struct Device {
    pub(crate) service: Arc<Service>,
    pub(crate) key: Ed25519KeyPair,
    pub(crate) certificate: Vec<u8>,
    pub(crate) id: DeviceId,
    pub(crate) challenge: [u8; 32],
    pub(crate) trust: TrustVersion,
    pub(crate) losses: Losses,
    pub(crate) agent_version: [u8; 3],
}

/// What a reply says of roots and keys, and its answer.
pub(crate) struct Heard {
    pub(crate) challenge: [u8; 32],
    pub(crate) root: Option<Vec<u8>>,
    pub(crate) delegation: Option<Vec<u8>>,
    pub(crate) refused: Option<RefusalCode>,
    pub(crate) order: Option<Vec<u8>>,
}

pub(crate) const FIRST: TrustVersion = TrustVersion {
    root: 0,
    delegation: 1,
};

pub(crate) fn service() -> Arc<Service> {
    let keys = Keys::new(&[1; 32], &[2; 32], &[3; 32]);
    Service::in_memory(keys, Settings::default(), System).unwrap()
}

impl Device {
    pub(crate) fn new(service: &Arc<Service>) -> Device {
        let key = keypair(&[9; 32]);
        let id = DeviceId::new("NRD-STB-1").unwrap();
        let certificate = MakerCertificate {
            device_id: id,
            public_key: public(&key),
            model: "Box".try_into().unwrap(),
            kind: DeviceKind::SetTopBox,
        };
        let mut device = Device {
            service: service.clone(),
            certificate: signed(service.keys.maker(), &certificate),
            key,
            id,
            challenge: [0; 32],
            trust: FIRST,
            losses: Losses::default(),
            agent_version: [1, 0, 0],
        };
        let frame = device.hello();
        device.post(&frame);
        device
    }

    pub(crate) fn request(&self, ask: Ask<'_>) -> Vec<u8> {
        let request = Request {
            device_id: self.id,
            challenge: self.challenge,
            nonce: [7; 16],
            agent_version: self.agent_version,
            trust: self.trust,
            losses: self.losses,
            ask,
        };
        signed(&self.key, &request)
    }

    pub(crate) fn hello(&self) -> Vec<u8> {
        self.request(Ask::Hello {
            certificate: &self.certificate,
        })
    }

    /// Posts a frame; the challenge of the reply is the next one.
    pub(crate) fn post(&mut self, frame: &[u8]) -> Heard {
        let heard = heard(&self.service.answer(frame, "192.0.2.1").unwrap());
        self.challenge = heard.challenge;
        heard
    }

    pub(crate) fn start(&mut self, id: u8) -> Heard {
        let frame = self.request(Ask::ActivateStart {
            activation_id: ActivationId([id; 16]),
            epoch: 0,
            previous_receipt: None,
        });
        self.post(&frame)
    }

    pub(crate) fn check_in_frame(&self, id: u8, wait_s: u16) -> Vec<u8> {
        self.request(Ask::CheckIn {
            activation_id: ActivationId([id; 16]),
            epoch: 0,
            proof: None,
            renew: false,
            wait_s,
            powered_s: 0,
            policy: Default::default(),
        })
    }

    pub(crate) fn check_in(&mut self, id: u8) -> Heard {
        let frame = self.check_in_frame(id, 0);
        self.post(&frame)
    }

    pub(crate) fn activate(&mut self, id: u8, account: AccountId) -> ActivationRow {
        self.start(id);
        let row = self.service.store.activation(&[id; 16]).unwrap().unwrap();
        self.service
            .approve(account, &row, 1, true, "192.0.2.2")
            .unwrap()
    }
}

pub(crate) fn heard(reply: &[u8]) -> Heard {
    let reply: Reply<'_> = wire::decode(reply).unwrap();
    let (refused, order) = match reply.answer {
        Answer::Refused { code, .. } => (Some(code), None),
        Answer::CheckedIn { order, .. } => (None, order.map(<[u8]>::to_vec)),
        _ => (None, None),
    };
    Heard {
        challenge: reply.challenge,
        root: reply.root.map(<[u8]>::to_vec),
        delegation: reply.delegation.map(<[u8]>::to_vec),
        refused,
        order,
    }
}

pub(crate) fn account(service: &Service) -> AccountId {
    let sealed = |_| Ok(Sealed::default());
    service
        .store
        .add_account(&[1; 32], "$argon2id$", 1, sealed)
        .unwrap()
}

pub(crate) fn delegation(frame: &[u8]) -> Delegation {
    wire::peek(frame).unwrap()
}

/// What an agent signs after a wipe that went well.
pub(crate) fn honest_receipt(
    certificate: &[u8],
    activation: [u8; 16],
    powered_s: u32,
) -> Receipt<'_> {
    Receipt {
        certificate,
        subject: Subject::Wipe {
            reason: WipeReason::Local,
            order: None,
            activation_id: ActivationId(activation),
            previous: None,
        },
        epoch: 0,
        counter: 1,
        method: Method::Purge,
        sectors: SectorCounts {
            total: 58,
            erased: 58,
            failed: 0,
        },
        flags: ReceiptFlags {
            slots_blank: true,
            ..ReceiptFlags::default()
        },
        agent_version: [1, 0, 0],
        powered_s,
        wall_s: None,
    }
}
