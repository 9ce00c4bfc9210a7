//! What the processes on one database tell each other (`NOTIFY`).
//!
//! | text | means |
//! |---|---|
//! | `d:` and 32 hexadecimal digits | something changed for this activation's device |
//! | `p:` and a number | something changed on this account's pages |
//! | `o` | something was put into an outbox |
//! | `l` | what the database knows of revocation logs has changed |

use super::AccountId;
use crate::error::{Error, Result};
use nrd_sim_base::{hex, unhex};
use std::fmt;

/// One announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// Something changed for this activation's device.
    Device([u8; 16]),
    /// Something changed on this account's pages.
    Page(AccountId),
    /// Something was put into an outbox.
    Outbox,
    /// What the database knows of revocation logs has changed.
    Logs,
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Announcement::Device(activation) => write!(f, "d:{}", hex(activation)),
            Announcement::Page(account) => write!(f, "p:{}", account.0),
            Announcement::Outbox => f.write_str("o"),
            Announcement::Logs => f.write_str("l"),
        }
    }
}

impl Announcement {
    /// Reads an announcement of another process.
    ///
    /// # Errors
    /// [`Error::UnknownWord`]: a newer version of this program, or another
    /// program, uses the channel.
    pub fn parse(text: &str) -> Result<Announcement> {
        let read = match text.split_once(':') {
            None if text == "o" => Some(Announcement::Outbox),
            None if text == "l" => Some(Announcement::Logs),
            Some(("d", id)) => unhex(id).map(Announcement::Device),
            Some(("p", n)) => n.parse().ok().map(|n| Announcement::Page(AccountId(n))),
            None | Some(_) => None,
        };
        read.ok_or_else(|| Error::unknown_word("NOTIFY", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_as_it_was_told_and_no_other_is() {
        for told in [
            Announcement::Device([0xA7; 16]),
            Announcement::Page(AccountId(12)),
            Announcement::Outbox,
            Announcement::Logs,
        ] {
            assert_eq!(Announcement::parse(&told.to_string()).unwrap(), told);
        }
        for other in ["", "x", "d:", "d:00", "p:", "p:x", "q:1", "o:"] {
            let refused = Announcement::parse(other);
            assert!(
                matches!(refused, Err(Error::UnknownWord { .. })),
                "{other:?}: {refused:?}"
            );
        }
    }
}
