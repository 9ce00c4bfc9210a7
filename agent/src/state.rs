//! The session's states, and what the journal keeps of them.
//!
//! ```text
//!            start_activation            grant stored
//!   Clean ───────────────────▶ Activating ─────────▶ Active ◀──▶ Locked
//!     ▲                            │                   │ ▲         │
//!     │                      cancel│denied     sign out│ │activate │
//!     │                            ▼                   ▼ │         │
//!     └──────── five phases ── Wiping ◀──────────── SignedOut      │
//!                                ▲  order, person, dead-man        │
//!                                └─────────────────────────────────┘
//! ```

use crate::lease::StoredLease;
use crate::order::SeenOrders;
use crate::wire::codec::Wire;
use crate::wire::{
    ActivationId, Digest, LockReason, PolicyVersion, SectorCounts, TrustVersion, WipeReason,
};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// One activation, as the journal knows it. No personal data, no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Activation {
    /// Its id.
    pub id: ActivationId,
    /// The epoch it lives in.
    pub epoch: u64,
    /// The committed generation of the key slot; 0 when there is no slot.
    pub slot_generation: u32,
    /// False for a computer whose box was left unticked: nothing that opens
    /// the session outlives power-off.
    pub remember: bool,
    /// The lease in force.
    pub lease: StoredLease,
    /// The policy version consented to.
    pub policy: PolicyVersion,
    /// Access is closed by a statement of the service.
    pub lock: Option<LockReason>,
    /// Orders applied so far.
    pub seen: SeenOrders,
}

/// An activation attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Attempt {
    /// Names the attempt, and the activation that it may become.
    pub id: ActivationId,
    /// Its epoch.
    pub epoch: u64,
    /// The activation that this device held before, signed out or without its
    /// session: it stays on the account's list until this attempt succeeds.
    pub before: Option<ActivationId>,
    /// A grant arrived, and something of it may be on flash: the attempt ends in
    /// `Active` or in a wipe. On flash before the first byte of the grant is.
    pub storing: bool,
}

/// An activation that a person or an order signed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct SignedOut {
    /// The activation.
    pub id: ActivationId,
    /// Its epoch.
    pub epoch: u64,
    /// The service knows of it.
    pub service_notified: bool,
    /// Orders applied so far.
    pub seen: SeenOrders,
}

/// The state, as the journal keeps it. Wiping is not here: it has a record of
/// its own, the tombstone, which outranks this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[repr(u8)]
pub enum PersistedState {
    /// No account, no secret.
    Clean,
    /// An activation was begun.
    Activating(Attempt),
    /// An account holder is remembered.
    Active(Activation),
    /// A wipe ended, but some part would not erase.
    Failed,
    /// Signed out by a person; still on the account's list.
    SignedOut(SignedOut),
    /// On no account, and its vault may hold anything: a storage check has filled
    /// it, or the device is fresh from the factory. `Clean` is said over blank cells
    /// only.
    Filling,
}

/// The journal's one snapshot record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Snapshot {
    /// Boots of the device's life.
    pub boots: u32,
    /// Powered seconds of the device's life, charged ahead of use: never less
    /// than have passed. They close access.
    pub charged_s: u32,
    /// Powered seconds of the device's life that have passed for certain: never
    /// more than have passed. They alone feed the dead-man.
    ///
    /// Found: each boot is charged ahead, so 11,520 boots of five seconds, 16
    /// hours, wiped a device whose dead-man waits for 120 days.
    pub used_s: u32,
    /// The state.
    pub state: PersistedState,
    /// The newest delegation accepted, and the root that signed it.
    pub trust: TrustVersion,
    /// Version of trusted time.
    pub time_version: u32,
    /// No wall time below this is believed (Unix seconds).
    pub time_floor: u64,
    /// Digest of the newest wipe receipt: the epoch chain.
    pub last_receipt: Option<Digest>,
    /// Digest of the order that the last wipe carried out.
    pub last_order: Option<Digest>,
    /// Undelivered receipts dropped, for newer ones or because they were
    /// unreadable.
    pub receipts_dropped: u16,
    /// Number of the next wipe. A tombstone with a lower one has been dealt with.
    pub next_wipe: u16,
    /// Where the next receipt that proves something to an account is kept.
    pub next_place: u8,
    /// Where the newest receipt is kept.
    pub newest_place: u8,
    /// The counter's value when this device was last known clean; a counter
    /// that moved while the journal was lost is thereby noticed.
    pub epoch: u64,
    /// The counter is worn out: no more activations.
    pub worn_out: bool,
    /// Boots in a row that ended without an answer of the service, this one
    /// included until it gets one.
    pub unanswered: u8,
}

impl Snapshot {
    /// A device fresh from the factory.
    pub fn fresh(epoch: u64) -> Self {
        Snapshot {
            boots: 0,
            charged_s: 0,
            used_s: 0,
            state: PersistedState::Clean,
            trust: TrustVersion::default(),
            time_version: 0,
            time_floor: 0,
            last_receipt: None,
            last_order: None,
            receipts_dropped: 0,
            next_wipe: 0,
            next_place: 0,
            newest_place: 0,
            epoch,
            worn_out: false,
            unanswered: 0,
        }
    }
}

/// The tombstone: the commit of a wipe, and its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Tombstone {
    /// Why.
    pub reason: WipeReason,
    /// SHA-256 of the order's frame.
    pub order: Option<Digest>,
    /// The activation that ends.
    pub activation_id: ActivationId,
    /// Number of this wipe: the snapshot's `next_wipe` until it has ended.
    pub wipe: u16,
    /// The epoch that ends.
    pub epoch: u64,
    /// The counter must reach this.
    pub target_epoch: u64,
    /// The phase that the wipe has reached.
    pub phase: WipePhase,
    /// Vault sectors handled so far.
    pub sectors: SectorCounts,
    /// A key slot would not erase.
    pub slot_stuck: bool,
    /// The counter could not be raised.
    pub counter_worn_out: bool,
    /// The tombstone itself could not be written before the keys died.
    pub tombstone_failed: bool,
}

/// Phases of a wipe. Each may be repeated from its
/// start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum WipePhase {
    /// Raise the counter, destroy and erase the slots.
    Keys,
    /// Erase the vault from this byte offset on.
    Vault(u32),
    /// Sign and keep the receipt.
    Receipt,
}

/// The state as callers see it.
///
/// ```
/// use nrd_agent::State;
/// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
/// # let mut service = StubService::new(1);
/// # let device = TestPlatform::builder().build(&service);
/// # let mut memory = TestMemory::default();
/// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// # service.serve(&mut agent).unwrap();
/// # agent.start_activation().unwrap();
/// # service.serve(&mut agent).unwrap();
/// assert_eq!(agent.state(), State::Active);
///
/// agent.sign_out().unwrap();
/// assert_eq!(agent.state(), State::SignedOut); // still on the account's list
///
/// agent.deactivate().unwrap();
/// assert_eq!(agent.state(), State::Wiping); // no power cut undoes this
/// # service.serve(&mut agent).unwrap();
/// assert_eq!(agent.state(), State::Clean);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The boot has not finished: step.
    Booting,
    /// No account, no secret.
    Clean,
    /// Waiting for the account holder to enter the code.
    Activating,
    /// An account holder is recognised.
    Active,
    /// Access is closed; nothing was destroyed.
    Locked(LockReason),
    /// Signed out; still on the account's list.
    SignedOut,
    /// A wipe is under way: step.
    Wiping,
    /// A wipe ended, but some part would not erase. The keys that could be
    /// destroyed are; the device must not be handed on as clean.
    WipeFailed,
    /// No account, no secret; a storage check fills the vault, or it is erased: after
    /// a check, and once in the life of a device, at its first boot.
    Filling,
}
