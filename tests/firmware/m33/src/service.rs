//! As much of a service as one device needs: it signs what the real one signs,
//! and approves every activation.

use crate::board::world;
use ed25519_dalek::{Signer, SigningKey};
use nrd_agent::Error;
use nrd_agent::wire::{
    self, Answer, Ask, Body, Delegation, EndReason, Generation, Grant, KeyVersion, Lease,
    LeaseTerms, MakerCertificate, Method, NextToken, Order, OrderKind, OrderSeq, PROOF_CONTEXT,
    PolicyVersion, Receipt, RefusalCode, Reply, Request, Series, TermBounds, TokenSecret,
    TrustVersion,
};
use nrd_hal::Crypto;
use nrd_hal::crypto::RustCrypto;

/// The keys of service and maker.
pub struct Service {
    pub maker: SigningKey,
    root: SigningKey,
    order: SigningKey,
    session: SigningKey,
}

const TERMS: LeaseTerms = LeaseTerms {
    renew_after_s: 86_400,
    expires_after_s: 30 * 86_400,
    max_boots: 500,
    dead_man_s: 90 * 86_400,
};

const BOUNDS: TermBounds = TermBounds {
    expires_min_s: 86_400,
    expires_max_s: 60 * 86_400,
    boots_min: 50,
    dead_man_min_s: 30 * 86_400,
};

/// Signs a frame into `out`; returns its length.
pub fn sign<'a, B: Body<'a>>(key: &SigningKey, body: &B, out: &mut [u8]) -> Option<usize> {
    wire::encode_signed::<_, Error>(body, out, |m| Ok(key.sign(m).to_bytes())).ok()
}

fn token(generation: u32) -> [u8; 32] {
    let id = world().activation;
    RustCrypto::hmac(
        &[0x44; 32],
        &[b"nrd/1/token\0", &id, &generation.to_le_bytes()],
    )
}

impl Service {
    pub fn new() -> Service {
        let key = |n| SigningKey::from_bytes(&[n; 32]);
        Service {
            maker: key(1),
            root: key(2),
            order: key(3),
            session: key(4),
        }
    }

    /// The certificate that the factory installs.
    pub fn certificate(&self, out: &mut [u8]) -> Option<usize> {
        let body = MakerCertificate {
            device_id: wire::DeviceId::new(crate::board::DEVICE_ID)?,
            public_key: crate::board::device_key().verifying_key().to_bytes(),
            model: "Security processor".try_into().ok()?,
            kind: wire::DeviceKind::SetTopBox,
        };
        sign(&self.maker, &body, out)
    }

    /// What the firmware pins.
    pub fn root_key(&self) -> [u8; 32] {
        self.root.verifying_key().to_bytes()
    }

    /// An order to deactivate what was activated last.
    pub fn order(&self, epoch: u64, out: &mut [u8]) -> Option<usize> {
        let order = Order {
            device_id: wire::DeviceId::new(crate::board::DEVICE_ID)?,
            epoch,
            activation_id: wire::ActivationId(world().activation),
            key_version: KeyVersion(1),
            seq: OrderSeq(1),
            kind: OrderKind::Deactivate,
        };
        sign(&self.order, &order, out)
    }

    /// Answers a request; returns the reply's length.
    pub fn answer(&self, frame: &[u8], out: &mut [u8]) -> Option<usize> {
        let request: Request<'_> = wire::peek(frame).ok()?;
        let mut delegation = [0; 256];
        let n = sign(
            &self.root,
            &Delegation {
                version: TrustVersion {
                    root: 0,
                    delegation: 1,
                },
                order_key_version: KeyVersion(1),
                order_key: self.order.verifying_key().to_bytes(),
                session_key: self.session.verifying_key().to_bytes(),
                time_version: 1,
                time_floor: 1_700_000_000,
                bounds: BOUNDS,
            },
            &mut delegation,
        )?;
        let mut room = [0; 384];
        let answer = self.answer_to(&request, &mut room)?;
        let mut challenge = [0; 32];
        challenge
            .first_chunk_mut::<4>()?
            .copy_from_slice(&world().ops.to_le_bytes());
        let reply = Reply {
            challenge,
            root: None,
            delegation: delegation.get(..n),
            answer,
        };
        wire::encode(&reply, out).ok()
    }

    fn answer_to<'r>(&self, request: &Request<'_>, room: &'r mut [u8; 384]) -> Option<Answer<'r>> {
        Some(match &request.ask {
            Ask::Hello { .. } => Answer::Welcome,
            Ask::ActivateStart { .. } => Answer::Code {
                user_code: "BCDFGHJK".try_into().ok()?,
                pictogram: 3,
                expires_in_s: 600,
                interval_s: 0,
            },
            Ask::ActivatePoll {
                activation_id,
                epoch,
            } => {
                world().activation = activation_id.0;
                world().generation = 1;
                let grant = Grant {
                    device_id: request.device_id.clone(),
                    activation_id: *activation_id,
                    epoch: *epoch,
                    series: Series(activation_id.0),
                    token: TokenSecret(token(1)),
                    remember: true,
                    policy: PolicyVersion(1),
                    display_name: "Alexandra".try_into().ok()?,
                    terms: TERMS,
                };
                let n = sign(&self.session, &grant, room)?;
                Answer::Granted {
                    grant: room.get(..n)?,
                }
            }
            Ask::ActivateCancel { .. } => Answer::ActivationEnded {
                reason: EndReason::Cancelled,
            },
            Ask::CheckIn {
                activation_id,
                proof: Some(proof),
                policy,
                renew,
                ..
            } => {
                let g = proof.generation.0;
                let mac = RustCrypto::hmac(
                    &token(g),
                    &[PROOF_CONTEXT, &request.challenge, &request.nonce],
                );
                // One honest device: a retired generation is a fault of ours.
                if mac != proof.mac || g < world().generation {
                    return None;
                }
                world().generation = g;
                let lease = Lease {
                    device_id: request.device_id.clone(),
                    activation_id: *activation_id,
                    nonce: request.nonce,
                    issued_at: 1_795_478_400,
                    terms: TERMS,
                    policy: *policy,
                    next: renew.then(|| NextToken {
                        generation: Generation(g + 1),
                        token: TokenSecret(token(g + 1)),
                    }),
                };
                let n = sign(&self.session, &lease, room)?;
                Answer::CheckedIn {
                    lease: renew.then(|| room.get(..n)).flatten(),
                    statement: None,
                    order: None,
                    interval_s: 3600,
                }
            }
            Ask::CheckIn { .. } => Answer::Refused {
                code: RefusalCode::BadRequest,
                retry_after_s: 1,
            },
            Ask::Outcome { .. } | Ask::SignedOut { .. } => Answer::Noted,
            Ask::Receipt { receipt } => {
                self.verify(receipt)?;
                world().receipts += 1;
                Answer::ReceiptStored {
                    digest: wire::receipt_digest::<RustCrypto>(receipt)?,
                }
            }
        })
    }

    /// Verifies a receipt with the maker root, and that it proves a clean wipe.
    fn verify(&self, frame: &[u8]) -> Option<()> {
        let claimed: Receipt<'_> = wire::peek(frame).ok()?;
        let maker = self.maker.verifying_key().to_bytes();
        let cert: MakerCertificate =
            wire::decode_signed::<_, RustCrypto>(claimed.certificate, &maker).ok()?;
        let receipt: Receipt<'_> =
            wire::decode_signed::<_, RustCrypto>(frame, &cert.public_key).ok()?;
        (receipt.method == Method::Purge && receipt.sectors.failed == 0).then_some(())
    }
}
