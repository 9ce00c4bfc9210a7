//! What the machine is told, and what it asks for: the only words between it and
//! its driver.

use super::Journal;
use super::live::Renewal;
use crate::class::Class;
use crate::error::Error;
use crate::state::Snapshot;
use crate::wire::{
    ActivationId, Digest, LeaseTerms, LockReason, Order, PolicyVersion, TermBounds, TrustVersion,
};

/// One durable step, or closing. The driver carries it out whole and answers
/// with [`Event::Ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing, until something happens.
    Rest,
    /// Advise a restart of the platform: a wipe has ended.
    Reset,
    /// Derive the journal's keys.
    DeriveKeys,
    /// One step of making the journal readable and writable. [`Found::More`]
    /// until it is.
    OpenJournal,
    /// Read the counter: [`Found::Counter`].
    ReadCounter,
    /// Read the journal's records and look at the slots: [`Found::Journal`].
    Load,
    /// Erase whatever a slot still holds: [`Found::Blank`].
    EffaceSlots,
    /// Write [`Core::write_image`](super::Core::write_image) as the snapshot and read it back: [`Found::Saved`].
    Save,
    /// Read the slot that the snapshot names, derive the vault's keys, and efface
    /// the other slot: [`Found::Slot`].
    OpenSlot,
    /// One step towards the session record. [`Found::More`], then
    /// [`Found::Session`].
    OpenSession,
    /// Draw the grant's secret and salts, write the slot where the grant is to be
    /// remembered, derive the vault's keys.
    MakeSlot,
    /// Make the vault writable, one step: [`Found::More`] until it is.
    OpenVault,
    /// Store the grant's session and display name.
    StoreSession,
    /// Store the successor token, and use it.
    StoreToken,
    /// Store the delegation's frame.
    StoreDelegation,
    /// Store the new root.
    StoreRoot,
    /// Write the other slot, with a new salt for this class.
    NewSalt(Class),
    /// Take the keys of the new slot into use, and efface the old one.
    SwapSlot(Class),
    /// Remove the receipt at this place.
    RemoveReceipt(u8),
    /// Forget every key and secret in RAM.
    Close,
    /// Write [`Core::tombstone`](super::Core::tombstone) and read it back.
    SaveTombstone,
    /// Remove the tombstone.
    RemoveTombstone,
    /// Raise the counter, unless it has reached this: [`Found::Counter`].
    RaiseCounter(u64),
    /// Program both slots to zero, where the part can.
    ZeroSlots,
    /// Erase both slots and read them back; `twice` where a cut may have torn an
    /// erase: [`Found::Blank`].
    EraseSlots {
        /// Erase once before.
        twice: bool,
    },
    /// Erase the block of the vault that begins here and read it back:
    /// [`Found::Erased`].
    EraseBlock {
        /// Its offset in the vault, in bytes.
        at: u32,
        /// Erase once before.
        twice: bool,
    },
    /// Read both slots: [`Found::Blank`].
    LookAtSlots,
    /// Store the wipe's receipt at this place: [`Found::Receipt`].
    StoreReceipt {
        /// Both slots were destroyed and read blank.
        slots_blank: bool,
        /// Where.
        place: u8,
    },
}

/// What the driver found when it carried out an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found<'a> {
    /// It is done.
    Done,
    /// A piece of it is done.
    More,
    /// The counter's value.
    Counter(u64),
    /// What the journal holds.
    Journal(Journal<'a>),
    /// This snapshot is on flash.
    Saved(&'a Snapshot),
    /// The slot that the snapshot names was read.
    Slot(bool),
    /// The session was read.
    Session(bool),
    /// Both slots read blank.
    Blank(bool),
    /// A block was dealt with.
    Erased {
        /// Erase units of it that read blank.
        erased: u32,
        /// Erase units of it that do not.
        failed: u32,
        /// Where the next block begins; `None` at the vault's end.
        next: Option<u32>,
    },
    /// The receipt is stored.
    Receipt {
        /// Its digest.
        digest: Digest,
    },
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event<'a> {
    /// Nothing but time.
    Tick,
    /// A reply came, with the challenge of the next request.
    Answered(&'a [u8; 32]),
    /// The effect ended.
    Ended(Result<Found<'a>, Error>),
    /// A person at the device deactivates it.
    Deactivate,
    /// A person begins an activation, under an id drawn for it.
    Start(&'a ActivationId),
    /// A person gives the attempt up.
    Cancel,
    /// A person signs out.
    SignOut,
    /// A caller forgets a class of account data.
    Forget(Class),
    /// A desk opens a storage check.
    Fill,
    /// A storage check has its answer, or its desk is gone.
    Unfill,
    /// An order whose signature and addressee are verified, and which applies.
    Order {
        /// The order.
        order: &'a Order,
        /// SHA-256 of its frame.
        digest: &'a Digest,
    },
    /// A grant for this device, verified.
    Granted(&'a Granted),
    /// The service ended the attempt.
    AttemptEnded,
    /// A lease for this device and request, verified.
    Leased {
        /// The activation it is for.
        id: &'a ActivationId,
        /// The lease.
        renewal: &'a Renewal,
        /// What the root allows.
        bounds: &'a TermBounds,
    },
    /// A statement for this device and request, verified.
    Stated {
        /// The activation it is for.
        id: &'a ActivationId,
        /// Why access closes.
        reason: LockReason,
    },
    /// A delegation, verified under the root in force.
    Delegated(&'a Delegated),
    /// The next root, verified under the root in force.
    RootChanged(u32),
    /// The service has noted that the device is signed out.
    SignOutNoted,
    /// The service has stored the receipt at this place.
    ReceiptDelivered(u8),
    /// The receipt at this place cannot be read.
    ReceiptUnreadable(u8),
    /// Room was needed in the journal, and the receipt at this place was removed.
    ReceiptDropped(u8),
}

/// A grant without its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Granted {
    /// The activation.
    pub id: ActivationId,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the session outlives power-off.
    pub remember: bool,
    /// The policy version consented to.
    pub policy: PolicyVersion,
    /// Terms until the first lease.
    pub terms: LeaseTerms,
}

/// A delegation without its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delegated {
    /// Its version, and its root's.
    pub version: TrustVersion,
    /// It names an order key older than the one in force.
    pub order_key_falls: bool,
    /// None is in force: the one accepted before cannot be read.
    pub none_held: bool,
    /// Version of trusted time.
    pub time_version: u32,
    /// The time floor that comes with it.
    pub time_floor: u64,
}
