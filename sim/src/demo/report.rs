//! What was seen.

use serde::Serialize;

/// One step of the story.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Its name, stable.
    pub name: &'static str,
    /// It went as it should.
    pub ok: bool,
    /// What was seen, in words.
    pub seen: String,
}

/// What the wipe cost the set-top box.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WipeFigures {
    /// Flash, slot and counter operations until the key was dead.
    pub flash_ops_to_key_death: u64,
    /// Their modelled time in milliseconds.
    pub modelled_ms_to_key_death: f64,
    /// Modelled time of the whole wipe in milliseconds.
    pub modelled_ms_total: f64,
    /// Erase units erased.
    pub sectors_erased: u64,
}

/// The story's outcome; the JSON form is the demo's last line.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DemoReport {
    /// The seed.
    pub seed: u64,
    /// Every step, in order.
    pub steps: Vec<Step>,
    /// The account holder was recognised after the power was cut.
    pub restored_after_power_cycle: bool,
    /// A renewal whose answer was lost went through all the same.
    pub renewed_after_lost_answer: bool,
    /// Account bytes that image and root key gave away before the wipe.
    pub account_bytes_readable_before_wipe: usize,
    /// And after it, by the same search.
    pub account_bytes_readable_after_wipe: usize,
    /// Account texts in plain or in simple encodings, before and after.
    pub plaintext_hits: usize,
    /// The receipt verifies offline, with the maker root alone.
    pub receipt_verified: bool,
    /// The former owner's order did nothing to the next owner.
    pub late_order_refused: bool,
    /// What the wipe cost.
    pub wipe: WipeFigures,
}

impl DemoReport {
    /// True when every step went as it should.
    pub fn ok(&self) -> bool {
        self.steps.iter().all(|s| s.ok)
    }
}
