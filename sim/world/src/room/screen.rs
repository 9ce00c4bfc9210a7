//! What a device's screen shows, and what its remote does.

use nrd_agent::keypad::RemoteKey;
use nrd_agent::wire::LockReason;
use nrd_sim_service::desk::Condition;

/// A key of the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// ↑
    Up,
    /// ↓
    Down,
    /// ←
    Left,
    /// →
    Right,
    /// OK, pressed shortly.
    Ok,
    /// OK, held down until it counts.
    Hold,
    /// Back.
    Back,
}

impl Key {
    /// Every key and its name in forms.
    pub const NAMES: [(Key, &'static str); 7] = [
        (Key::Up, "up"),
        (Key::Down, "down"),
        (Key::Left, "left"),
        (Key::Right, "right"),
        (Key::Ok, "ok"),
        (Key::Hold, "hold"),
        (Key::Back, "back"),
    ];

    /// From its name.
    pub fn parse(name: &str) -> Option<Key> {
        Key::NAMES.iter().find(|(_, n)| *n == name).map(|(k, _)| *k)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Key::NAMES
            .iter()
            .find(|(k, _)| *k == self)
            .map_or("", |n| n.1)
    }

    /// As the agent's key sequence sees it.
    pub(super) fn remote(self) -> RemoteKey {
        match self {
            Key::Up => RemoteKey::Up,
            Key::Down => RemoteKey::Down,
            Key::Left => RemoteKey::Left,
            Key::Right => RemoteKey::Right,
            Key::Ok | Key::Hold | Key::Back => RemoteKey::Other,
        }
    }
}

/// Entries of the menu behind the key sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// Sign out; it stays on the account's list.
    SignOut,
    /// Wipe everything.
    Deactivate,
    /// Leave.
    Close,
}

impl Item {
    /// As the screen says it.
    pub fn words(self) -> &'static str {
        match self {
            Item::SignOut => "Sign out",
            Item::Deactivate => "Deactivate and wipe",
            Item::Close => "Close",
        }
    }
}

/// The menu, when it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// What can be chosen now.
    pub items: Vec<Item>,
    /// Which is chosen.
    pub at: usize,
    /// Deactivation was chosen and waits for the key to be held.
    pub confirm: bool,
}

/// A bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Done so far.
    pub done: u32,
    /// Of so much.
    pub total: u32,
}

impl Progress {
    /// In percent.
    pub fn percent(self) -> u32 {
        (u64::from(self.done) * 100 / u64::from(self.total.max(1))) as u32
    }
}

/// What the screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// The plug is in.
    pub on: bool,
    /// The network plug is in.
    pub network: bool,
    /// A word for its state: a class on the page.
    pub state: &'static str,
    /// Its state, as a desk beside it sees it.
    pub condition: Condition,
    /// The large line.
    pub title: String,
    /// The small line.
    pub text: String,
    /// Code and pictogram.
    pub code: Option<(String, u8)>,
    /// A wipe's or a proof's bar.
    pub progress: Option<Progress>,
    /// The menu.
    pub menu: Option<Menu>,
    /// What it has answered a returns desk.
    pub answer: Option<DeskAnswer>,
    /// The receipt of the last wipe, signed.
    pub receipt: Option<Vec<u8>>,
}

/// What a device has answered a returns desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskAnswer {
    /// A signed answer to this nonce.
    Signed([u8; 32], Vec<u8>),
    /// It could not answer; its state stands in the place of the answer.
    State(Condition),
}

impl Face {
    /// What is seen of a device without power.
    pub(super) fn off(network: bool) -> Face {
        Face {
            on: false,
            network,
            state: "off",
            condition: Condition::Off,
            title: "Off".to_owned(),
            text: String::new(),
            code: None,
            progress: None,
            menu: None,
            answer: None,
            receipt: None,
        }
    }
}

/// Why a device is locked, in a large line, and what to do.
pub(super) fn locked(reason: LockReason) -> (&'static str, &'static str) {
    let text = match reason {
        LockReason::LeaseExpired => {
            "No word from the service for too long. Connect it to the network. OK: try again now"
        }
        LockReason::Revoked => "This device was taken off the account.",
        LockReason::ConsentDue => {
            "The privacy policy has changed. See your account page. OK: try again now"
        }
        LockReason::TheftSuspected => "A copied token was used. See your account page.",
        LockReason::JournalLost => "Its memory was damaged. Deactivate it here.",
        LockReason::SessionLost => "Its session was lost; nothing else was. OK: sign in again",
        LockReason::NotStored => {
            "Its memory takes no writes, so it stays closed. It opens by itself as soon as it does."
        }
        LockReason::NotAnswering => "A part of it does not answer. It is asked again.",
    };
    let title = match reason {
        LockReason::SessionLost => "Sign in again",
        LockReason::LeaseExpired
        | LockReason::Revoked
        | LockReason::ConsentDue
        | LockReason::TheftSuspected
        | LockReason::JournalLost
        | LockReason::NotStored
        | LockReason::NotAnswering => "Locked",
    };
    (title, text)
}
