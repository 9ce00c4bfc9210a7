//! The service's keys, and the objects they sign, without any network.
//!
//! [`Authority::answer`] also answers a device's requests in process, as a
//! service would that approves every activation at once: enough to drive a
//! whole life of a device deterministically. The reference service proper has
//! a database and people; this has neither.

use nrd_agent::wire::{
    self, ActivationId, Answer, Ask, Delegation, DeviceId, Generation, Grant, KeyVersion, Lease,
    LeaseTerms, NextToken, Order, OrderKind, OrderSeq, PROOF_CONTEXT, PolicyVersion, RefusalCode,
    Reply, Request, Series, TokenSecret,
};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::sign::{self, public, signed};
use ring::signature::Ed25519KeyPair;
use std::hash::{Hash as _, Hasher};
use std::sync::Arc;

fn derived(seed: &[u8; 32], label: &str) -> Ed25519KeyPair {
    sign::keypair(&RingCrypto::hkdf(
        b"nrd/sim/authority",
        seed,
        &[label.as_bytes()],
    ))
}

/// Keys of a service and of a maker, all derived from one seed.
#[derive(Clone)]
pub struct Authority {
    /// Signs maker certificates.
    pub maker: Arc<Ed25519KeyPair>,
    root: Arc<Ed25519KeyPair>,
    order: Arc<Ed25519KeyPair>,
    session: Arc<Ed25519KeyPair>,
    delegation: Arc<[u8]>,
    token_master: [u8; 32],
    /// Terms of every grant and lease.
    pub terms: LeaseTerms,
    /// Ticks "Remember me on this computer".
    pub remember: bool,
    /// The service's wall clock, Unix seconds.
    pub now_s: u64,
    /// Receipts stored so far, by digest.
    pub receipts: Vec<Vec<u8>>,
    /// An order to hand out at check-ins until its outcome comes back.
    pub pending: Option<Vec<u8>>,
    /// Check-ins whose token was retired or wrong: with one honest device there
    /// are none.
    pub suspected: u32,
    /// The current generation of the one series.
    generation: u32,
    series: [u8; 16],
    activation_id: ActivationId,
    challenge: u64,
}

impl Authority {
    /// Every key is a function of `seed`.
    pub fn new(seed: u64) -> Self {
        let seed = RingCrypto::sha256(&seed.to_le_bytes());
        let (root, order) = (derived(&seed, "root"), derived(&seed, "order"));
        let session = derived(&seed, "session");
        let delegation = Delegation {
            version: 1,
            order_key_version: KeyVersion(1),
            order_key: public(&order),
            session_key: public(&session),
            time_version: 1,
            time_floor: 1_700_000_000,
        };
        Authority {
            delegation: signed(&root, &delegation).into(),
            maker: Arc::new(derived(&seed, "maker")),
            root: Arc::new(root),
            order: Arc::new(order),
            session: Arc::new(session),
            token_master: RingCrypto::hkdf(b"nrd/sim/authority", &seed, &[b"token"]),
            terms: LeaseTerms {
                renew_after_s: 24 * 3600,
                expires_after_s: 30 * 24 * 3600,
                max_boots: 500,
                dead_man_s: 90 * 24 * 3600,
            },
            remember: true,
            now_s: 1_800_000_000,
            receipts: Vec::new(),
            pending: None,
            suspected: 0,
            generation: 0,
            series: [0; 16],
            activation_id: ActivationId::default(),
            challenge: 0,
        }
    }

    /// The root public key that firmware pins.
    pub fn root_key(&self) -> [u8; 32] {
        public(&self.root)
    }

    /// The maker's public key.
    pub fn maker_key(&self) -> [u8; 32] {
        public(&self.maker)
    }

    /// The current delegation.
    pub fn delegation(&self) -> &[u8] {
        &self.delegation
    }

    /// Signs an order.
    pub fn order(
        &self,
        device_id: &DeviceId,
        epoch: u64,
        activation_id: ActivationId,
        seq: u64,
        kind: OrderKind,
    ) -> Vec<u8> {
        signed(
            &self.order,
            &Order {
                device_id: *device_id,
                epoch,
                activation_id,
                key_version: KeyVersion(1),
                seq: OrderSeq(seq),
                kind,
            },
        )
    }

    /// The token of a generation: HMAC-SHA-256(token master, "nrd/1/token\0" ‖
    /// series ‖ generation as u32 LE).
    pub fn token(&self, series: &[u8; 16], generation: u32) -> [u8; 32] {
        RingCrypto::hmac(
            &self.token_master,
            &[b"nrd/1/token\0", series, &generation.to_le_bytes()],
        )
    }

    /// A token of the series granted last.
    pub fn present_token(&self, generation: u32) -> [u8; 32] {
        self.token(&self.series, generation)
    }

    /// The activation granted last.
    pub fn activation_id(&self) -> ActivationId {
        self.activation_id
    }

    /// Everything that an answer may depend on, for telling states apart.
    pub fn hash_into(&self, h: &mut impl Hasher) {
        (self.now_s, &self.receipts, &self.pending, self.suspected).hash(h);
        (self.generation, self.series, self.activation_id.0).hash(h);
        (self.challenge, self.remember).hash(h);
        let t = &self.terms;
        (
            t.renew_after_s,
            t.expires_after_s,
            t.max_boots,
            t.dead_man_s,
        )
            .hash(h);
    }

    fn series_of(activation_id: &ActivationId) -> [u8; 16] {
        let digest = RingCrypto::sha256(&activation_id.0);
        let mut out = [0; 16];
        out.copy_from_slice(&digest[..16]);
        out
    }

    /// Answers one request frame; approves every activation.
    pub fn answer(&mut self, frame: &[u8]) -> Vec<u8> {
        self.challenge += 1;
        let mut challenge = [0u8; 32];
        challenge[..8].copy_from_slice(&self.challenge.to_le_bytes());
        // The in-process peer trusts its one device; the reference service
        // checks signature and challenge first.
        let request: Request<'_> = wire::peek(frame).expect("the agent sends well-formed requests");
        let mut keep: Vec<Vec<u8>> = Vec::new();
        let answer = self.answer_to(&request, &mut keep);
        let reply = Reply {
            challenge,
            delegation: Some(&self.delegation.clone()),
            answer,
        };
        let mut out = [0u8; wire::MAX_FRAME];
        let n = wire::encode(&reply, &mut out).expect("a reply fits");
        out[..n].to_vec()
    }

    fn answer_to<'k>(&mut self, request: &Request<'_>, keep: &'k mut Vec<Vec<u8>>) -> Answer<'k> {
        match &request.ask {
            Ask::Hello { .. } => Answer::Welcome,
            Ask::ActivateStart { .. } => Answer::Code {
                user_code: "BCDFGHJK".try_into().expect("eight letters"),
                pictogram: 3,
                expires_in_s: 600,
                interval_s: 0,
            },
            Ask::ActivatePoll {
                activation_id,
                epoch,
            } => {
                self.series = Self::series_of(activation_id);
                if self.activation_id != *activation_id {
                    self.activation_id = *activation_id;
                    self.generation = 1;
                }
                keep.push(self.grant(request.device_id, *activation_id, *epoch));
                Answer::Granted { grant: &keep[0] }
            }
            Ask::ActivateCancel { .. } => Answer::ActivationEnded {
                reason: wire::EndReason::Cancelled,
            },
            Ask::CheckIn {
                activation_id,
                proof,
                renew,
                policy,
                ..
            } => {
                if let Some(order) = &self.pending {
                    keep.push(order.clone());
                    return Answer::CheckedIn {
                        lease: None,
                        statement: None,
                        order: Some(&keep[0]),
                        interval_s: 0,
                    };
                }
                let Some(proof) = proof else {
                    return Answer::CheckedIn {
                        lease: None,
                        statement: None,
                        order: None,
                        interval_s: 3600,
                    };
                };
                let g = proof.generation.0;
                let token = self.token(&self.series, g);
                let mac =
                    RingCrypto::hmac(&token, &[PROOF_CONTEXT, &request.challenge, &request.nonce]);
                if mac != proof.mac || g < self.generation {
                    self.suspected += 1;
                    return Answer::Refused {
                        code: RefusalCode::BadRequest,
                        retry_after_s: 1,
                    };
                }
                self.generation = g;
                keep.push(self.lease(request, *activation_id, *policy, renew.then_some(g + 1)));
                Answer::CheckedIn {
                    lease: Some(&keep[0]),
                    statement: None,
                    order: None,
                    interval_s: 3600,
                }
            }
            Ask::Outcome { .. } => {
                self.pending = None;
                Answer::Noted
            }
            Ask::SignedOut { .. } => Answer::Noted,
            Ask::Receipt { receipt } => {
                if !self.receipts.iter().any(|r| r == receipt) {
                    self.receipts.push(receipt.to_vec());
                }
                self.pending = None;
                let digest = wire::receipt_digest::<RingCrypto>(receipt).unwrap_or_default();
                Answer::ReceiptStored { digest }
            }
        }
    }

    fn grant(&self, device_id: DeviceId, activation_id: ActivationId, epoch: u64) -> Vec<u8> {
        signed(
            &self.session,
            &Grant {
                device_id,
                activation_id,
                epoch,
                series: Series(self.series),
                token: TokenSecret(self.token(&self.series, 1)),
                remember: self.remember,
                policy: PolicyVersion(1),
                display_name: "Alexandra".try_into().expect("short"),
                terms: self.terms,
            },
        )
    }

    fn lease(
        &self,
        request: &Request<'_>,
        activation_id: ActivationId,
        policy: PolicyVersion,
        next: Option<u32>,
    ) -> Vec<u8> {
        signed(
            &self.session,
            &Lease {
                device_id: request.device_id,
                activation_id,
                nonce: request.nonce,
                issued_at: self.now_s,
                terms: self.terms,
                policy,
                next: next.map(|g| NextToken {
                    generation: Generation(g),
                    token: TokenSecret(self.token(&self.series, g)),
                }),
            },
        )
    }
}
