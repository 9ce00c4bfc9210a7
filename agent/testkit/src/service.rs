//! A scripted service: signs what a service signs, and answers a device in
//! process.

use crate::keys::{self, public, signed};
use nrd_agent::wire::{
    self, ActivationId, Answer, Ask, Delegation, DeviceId, EndReason, Generation, Grant,
    KeyVersion, Lease, LeaseTerms, LockReason, NextToken, Order, OrderKind, OrderSeq,
    PROOF_CONTEXT, PolicyVersion, RefusalCode, Reply, Request, Series, Statement, TermBounds,
    TokenSecret, TrustVersion,
};
use nrd_agent::{Agent, Config, Error, Next};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Crypto as _, Platform};
use ring::signature::Ed25519KeyPair;
use std::collections::VecDeque;
use std::hash::{Hash as _, Hasher};
use std::sync::Arc;

/// Salt of every key derived from a seed. It names the simulator, where this
/// service comes from: recorded runs and test vectors depend on the keys.
const KEY_SALT: &[u8] = b"nrd/sim/authority";

/// No floors and no ceilings: tests name the terms that they are about.
const BOUNDS: TermBounds = TermBounds {
    expires_min_s: 0,
    expires_max_s: u32::MAX,
    boots_min: 0,
    dead_man_min_s: 0,
};

fn derived(seed: &[u8; 32], label: &str) -> Ed25519KeyPair {
    keys::keypair(&RingCrypto::hkdf(KEY_SALT, seed, &[label.as_bytes()]))
}

/// The keys of a service and of a maker, all derived from one seed, and a
/// script. It approves every activation at once, renews every lease, stores
/// every receipt; its public fields and methods change that.
///
/// It trusts its one device: the signature and the challenge of a request are
/// not checked, the token's proof is. The reference service checks everything
/// and has a database and people; this has neither.
///
/// ```
/// use nrd_agent::wire::{LockReason, RefusalCode};
/// use nrd_agent::{Agent, State};
/// use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
///
/// let mut service = StubService::new(1);
/// let device = TestPlatform::builder().build(&service);
/// let mut memory = TestMemory::default();
/// let mut agent = Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// service.serve(&mut agent).unwrap();
///
/// // The service has no time for the first request after the code …
/// agent.start_activation().unwrap();
/// service.refuse_next(RefusalCode::SlowDown, 30);
/// service.serve(&mut agent).unwrap();
/// assert_eq!(agent.state(), State::Activating);
/// device.clock.advance_s(30);
/// service.serve(&mut agent).unwrap();
/// assert_eq!(agent.state(), State::Active);
///
/// // … and later wants consent to a new policy.
/// service.statement = Some(LockReason::ConsentDue);
/// device.clock.advance_s(3600);
/// service.serve(&mut agent).unwrap();
/// assert_eq!(agent.state(), State::Locked(LockReason::ConsentDue));
/// ```
#[derive(Clone)]
pub struct StubService {
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
    /// When the next check-in is wanted, in seconds.
    pub check_in_interval_s: u32,
    /// How many more polls are answered "not yet" before the grant. A device
    /// then polls again after one second.
    pub pending_polls: u32,
    /// Ends the activation attempt at the next poll; taken when it is told.
    pub end_activation: Option<EndReason>,
    /// A statement that closes access, told at every check-in in the place of
    /// a lease.
    pub statement: Option<LockReason>,
    /// An order to hand out at check-ins until its outcome comes back.
    pub pending: Option<Vec<u8>>,
    /// The frames of every receipt stored so far.
    pub receipts: Vec<Vec<u8>>,
    /// The frames of every outcome of an order told so far.
    pub outcomes: Vec<Vec<u8>>,
    /// Check-ins whose token was retired or wrong: with one honest device there
    /// are none.
    pub suspected: u32,
    refusals: VecDeque<(RefusalCode, u32)>,
    /// The device and epoch of the activation granted last.
    granted: Option<(DeviceId, u64)>,
    /// The sequence number of the order sent last.
    order_seq: u64,
    /// The current generation of the one series.
    generation: u32,
    series: [u8; 16],
    activation_id: ActivationId,
    challenge: u64,
}

impl StubService {
    /// Every key is a function of `seed`.
    pub fn new(seed: u64) -> Self {
        let seed = RingCrypto::sha256(&seed.to_le_bytes());
        let (root, order) = (derived(&seed, "root"), derived(&seed, "order"));
        let session = derived(&seed, "session");
        let delegation = Delegation {
            version: TrustVersion {
                root: 0,
                delegation: 1,
            },
            order_key_version: KeyVersion(1),
            order_key: public(&order),
            session_key: public(&session),
            time_version: 1,
            time_floor: 1_700_000_000,
            bounds: BOUNDS,
        };
        StubService {
            delegation: signed(&root, &delegation).into(),
            maker: Arc::new(derived(&seed, "maker")),
            root: Arc::new(root),
            order: Arc::new(order),
            session: Arc::new(session),
            token_master: RingCrypto::hkdf(KEY_SALT, &seed, &[b"token"]),
            terms: LeaseTerms {
                renew_after_s: 24 * 3600,
                expires_after_s: 30 * 24 * 3600,
                max_boots: 500,
                dead_man_s: 90 * 24 * 3600,
            },
            remember: true,
            now_s: 1_800_000_000,
            check_in_interval_s: 3600,
            pending_polls: 0,
            end_activation: None,
            statement: None,
            pending: None,
            receipts: Vec::new(),
            outcomes: Vec::new(),
            suspected: 0,
            refusals: VecDeque::new(),
            granted: None,
            order_seq: 0,
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

    /// The frame of the current delegation.
    pub fn delegation(&self) -> &[u8] {
        &self.delegation
    }

    /// The configuration of an agent that trusts this service: a device fresh
    /// from the factory, at epoch 0, that does not wait for orders.
    pub fn config(&self) -> Config {
        Config {
            service_root: self.root_key(),
            root_version: 0,
            factory_epoch: 0,
            wait_s: 0,
        }
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

    /// Makes [`StubService::pending`] an order for the activation granted
    /// last: what the account page does when a person removes the device, or
    /// signs it out. False when nothing was granted yet.
    pub fn send_order(&mut self, kind: OrderKind) -> bool {
        let Some((device_id, epoch)) = self.granted else {
            return false;
        };
        self.order_seq += 1;
        let seq = self.order_seq;
        self.pending = Some(self.order(&device_id, epoch, self.activation_id, seq, kind));
        true
    }

    /// Refuses the next request, whatever it asks; called again, also the one
    /// after it.
    pub fn refuse_next(&mut self, code: RefusalCode, retry_after_s: u32) {
        self.refusals.push_back((code, retry_after_s));
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
        let LeaseTerms {
            renew_after_s,
            expires_after_s,
            max_boots,
            dead_man_s,
        } = self.terms;
        (renew_after_s, expires_after_s, max_boots, dead_man_s).hash(h);
        // A script that changes nothing adds nothing: the power-cut explorer
        // samples states by this hash, and its published counts are repeated.
        let script = (self.pending_polls, self.end_activation, self.statement);
        let paced = (self.order_seq, self.check_in_interval_s);
        if script != (0, None, None) || paced != (0, 3600) || !self.refusals.is_empty() {
            (script, paced, &self.refusals).hash(h);
        }
    }

    fn series_of(activation_id: &ActivationId) -> [u8; 16] {
        let digest = RingCrypto::sha256(&activation_id.0);
        let mut out = [0; 16];
        out.copy_from_slice(&digest[..16]);
        out
    }

    /// Answers one request frame with a reply frame.
    ///
    /// # Panics
    /// When `frame` is not a request: an agent never sends one that is not
    /// well formed, so whatever carries the bytes has changed them.
    pub fn answer(&mut self, frame: &[u8]) -> Vec<u8> {
        self.challenge += 1;
        let mut challenge = [0u8; 32];
        challenge[..8].copy_from_slice(&self.challenge.to_le_bytes());
        let request: Request<'_> = wire::peek(frame).expect("the agent sends well-formed requests");
        let mut keep: Vec<Vec<u8>> = Vec::new();
        let answer = match self.refusals.pop_front() {
            Some((code, retry_after_s)) => Answer::Refused {
                code,
                retry_after_s,
            },
            None => self.answer_to(&request, &mut keep),
        };
        let reply = Reply {
            challenge,
            root: None,
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
            } => self.poll(request, *activation_id, *epoch, keep),
            Ask::ActivateCancel { .. } => Answer::ActivationEnded {
                reason: EndReason::Cancelled,
            },
            Ask::CheckIn { .. } => self.check_in(request, keep),
            Ask::Outcome { outcome } => {
                self.outcomes.push(outcome.to_vec());
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

    fn poll<'k>(
        &mut self,
        request: &Request<'_>,
        activation_id: ActivationId,
        epoch: u64,
        keep: &'k mut Vec<Vec<u8>>,
    ) -> Answer<'k> {
        if let Some(reason) = self.end_activation.take() {
            return Answer::ActivationEnded { reason };
        }
        if self.pending_polls > 0 {
            self.pending_polls -= 1;
            return Answer::Pending { interval_s: 1 };
        }
        self.series = Self::series_of(&activation_id);
        if self.activation_id != activation_id {
            self.activation_id = activation_id;
            self.generation = 1;
        }
        self.granted = Some((request.device_id, epoch));
        keep.push(self.grant(request.device_id, activation_id, epoch));
        Answer::Granted { grant: &keep[0] }
    }

    fn check_in<'k>(&mut self, request: &Request<'_>, keep: &'k mut Vec<Vec<u8>>) -> Answer<'k> {
        let Ask::CheckIn {
            activation_id,
            proof,
            renew,
            policy,
            ..
        } = &request.ask
        else {
            unreachable!("called for check-ins alone");
        };
        if let Some(order) = &self.pending {
            keep.push(order.clone());
            return Answer::CheckedIn {
                lease: None,
                statement: None,
                order: Some(&keep[0]),
                interval_s: 0,
            };
        }
        let interval_s = self.check_in_interval_s;
        if let Some(reason) = self.statement {
            keep.push(self.statement(request, *activation_id, reason));
            return Answer::CheckedIn {
                lease: None,
                statement: Some(&keep[0]),
                order: None,
                interval_s,
            };
        }
        let Some(proof) = proof else {
            return Answer::CheckedIn {
                lease: None,
                statement: None,
                order: None,
                interval_s,
            };
        };
        let g = proof.generation.0;
        let token = self.token(&self.series, g);
        let mac = RingCrypto::hmac(&token, &[PROOF_CONTEXT, &request.challenge, &request.nonce]);
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
            interval_s,
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

    fn statement(
        &self,
        request: &Request<'_>,
        activation_id: ActivationId,
        reason: LockReason,
    ) -> Vec<u8> {
        signed(
            &self.session,
            &Statement {
                device_id: request.device_id,
                activation_id,
                nonce: request.nonce,
                reason,
            },
        )
    }

    /// Runs the agent in process until it wants to wait, and answers whatever
    /// it asks. Returns when it wants to be called again, in milliseconds of
    /// uptime; `None` for as long as nobody calls.
    ///
    /// A restart that the agent advises after a wipe is not made: a test that
    /// wants one drives [`Agent::poll`] itself.
    ///
    /// # Errors
    /// What failed and did not heal by itself: a part, or a reply that the
    /// agent refused. Firmware does not notice that its own power is gone, nor
    /// need the agent: after a planned cut ask [`Power::is_off`], then drop the
    /// agent and reboot.
    ///
    /// [`Power::is_off`]: crate::Power::is_off
    ///
    /// # Panics
    /// When the agent does not come to rest within 100,000 calls.
    pub fn serve<P: Platform>(&mut self, agent: &mut Agent<'_, P>) -> Result<Option<u64>, Error> {
        let mut request = [0; wire::MAX_FRAME];
        for _ in 0..100_000 {
            match agent.poll(&mut request) {
                Next::Again | Next::Reset => {}
                Next::Post(n) => {
                    let reply = self.answer(&request[..n]);
                    agent.handle_reply(&reply)?;
                }
                Next::WaitUntil(uptime_ms) => {
                    return match agent.status().fault {
                        Some(fault) => Err(fault),
                        None => Ok(uptime_ms),
                    };
                }
            }
        }
        panic!("the agent does not come to rest");
    }
}
