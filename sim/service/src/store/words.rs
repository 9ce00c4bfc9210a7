//! Columns that hold one of a few words, and the type of each.
//!
//! A word is parsed where its row is read, and nowhere else. A word that this
//! program does not know is an error that names the column, never a default:
//! an unknown order kind was once read as "deactivate", and a key rotation
//! signed it as such.

use super::{ActivationPhase, OrderState, RevocationReason};
use crate::audit::{AuditKind, AuditOutcome};
use crate::error::{Error, Result};
use crate::events::EventKind;
use nrd_agent::wire::{DeviceKind, OrderKind};

/// A type that a column spells as one of a few words.
pub(super) trait Word: Sized {
    /// The value that `word` spells.
    ///
    /// # Errors
    /// [`Error::UnknownWord`].
    fn parse(word: &str) -> Result<Self>;
}

macro_rules! words {
    ($($column:literal => $word:ty,)*) => {
        /// Every column that holds a word, as `table.column`. The column
        /// `outbox.kind` is missing on purpose: statements compare it, and
        /// nothing reads it.
        pub const WORD_COLUMNS: &[&str] = &[$($column),*];

        $(impl Word for $word {
            fn parse(word: &str) -> Result<Self> {
                <$word>::from_name(word).ok_or_else(|| Error::unknown_word($column, word))
            }
        })*
    };
}

words! {
    "devices.kind" => DeviceKind,
    "activations.phase" => ActivationPhase,
    "activations.revoked" => RevocationReason,
    "orders.kind" => OrderKind,
    "orders.outcome" => OrderState,
    "events.kind" => EventKind,
    "audit.kind" => AuditKind,
    "audit.outcome" => AuditOutcome,
}
