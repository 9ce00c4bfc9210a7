//! How far the checker looks, and which rule it drops.

/// A rule to drop, to see its property fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Without {
    /// The boot goes by the snapshot although a tombstone stands.
    TombstoneFirst,
    /// The wipe leaves the counter as it is.
    Counter,
    /// The device holds an order against nothing but its own id.
    ActivationId,
    /// A receipt is forgotten when the next owner comes.
    ReceiptKept,
    /// The service calls a removal proven as soon as it is delivered.
    Proof,
    /// A new order key leaves waiting orders as they were signed.
    SignedAgain,
    /// The device uses a new token before it is on flash.
    PersistFirst,
    /// A retired token is taken for good.
    TheftRule,
    /// Keys stay in RAM although the machine asks to forget them.
    CloseFirst,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Owners, one after another.
    pub owners: u8,
    /// Cuts of the power.
    pub cuts: u8,
    /// Renewals.
    pub renewals: u8,
    /// Older images put back.
    pub restores: u8,
    /// New order keys.
    pub rotations: u8,
    /// Ticks of powered time, 1,000 seconds each.
    pub ticks: u8,
    /// Parts that stop doing what they are asked; each may recover.
    pub faults: u8,
    /// What people do at the device: sign out, cancel, deactivate.
    pub people: u8,
}

impl Bounds {
    /// Nothing happens but what the device does.
    const NONE: Bounds = Bounds {
        owners: 1,
        cuts: 0,
        renewals: 0,
        restores: 0,
        rotations: 0,
        ticks: 0,
        faults: 0,
        people: 0,
    };
    /// Two owners, a new order key, and a person at the device.
    pub const OWNERS: Bounds = Bounds {
        owners: 2,
        rotations: 1,
        people: 1,
        ..Bounds::NONE
    };
    /// The power goes at any moment.
    pub const CUTS: Bounds = Bounds {
        cuts: 1,
        renewals: 1,
        ticks: 1,
        people: 1,
        ..Bounds::NONE
    };
    /// An older image is put back.
    pub const IMAGES: Bounds = Bounds {
        cuts: 1,
        renewals: 2,
        restores: 1,
        ticks: 2,
        ..Bounds::NONE
    };
    /// Time until the dead-man comes.
    pub const LONG: Bounds = Bounds {
        ticks: 5,
        renewals: 1,
        ..Bounds::NONE
    };
    /// A part fails, and may recover.
    pub const FAULTS: Bounds = Bounds {
        ticks: 1,
        faults: 1,
        people: 1,
        ..Bounds::NONE
    };
    /// What the tests explore, each with its name.
    pub const TESTED: [(&str, Bounds); 5] = [
        ("owners", Bounds::OWNERS),
        ("cuts", Bounds::CUTS),
        ("images", Bounds::IMAGES),
        ("long", Bounds::LONG),
        ("faults", Bounds::FAULTS),
    ];
    /// Minutes: more than ten million states.
    pub const LARGE: Bounds = Bounds {
        owners: 2,
        cuts: 1,
        renewals: 1,
        rotations: 1,
        ticks: 1,
        people: 1,
        ..Bounds::NONE
    };
}
