//! Devices that stand beside a returns desk.
//!
//! A desk knows no device: it asks questions and judges answers, whoever
//! carries them. Where devices stand beside it, as in the simulator's living
//! room, they can be asked by cable, and may have pages of their own.

use super::DeskState;
use crate::desk::Condition;
use axum::Router;
use std::sync::Arc;

/// Devices beside the desk.
pub trait Neighbour: Send + Sync {
    /// Their own pages, to be merged with the account pages.
    fn pages(self: Arc<Self>, state: DeskState) -> Router;

    /// The devices that stand there now: their ids and states.
    fn devices(&self) -> Vec<(String, Condition)>;

    /// How the device of this id can be asked the question of check `check`;
    /// `None` when it does not stand there.
    fn by_cable(&self, device_id: &str, check: &str) -> Option<ByCable>;
}

/// How a device beside the desk is asked by cable.
pub struct ByCable {
    /// Where the form that asks it is posted to.
    pub form: String,
    /// Path of an event stream with an event for each change at the device.
    pub live: String,
    /// A sentence for the clerk: where to find the device.
    pub hint: String,
    /// Its state now.
    pub condition: Condition,
    /// How far its wipe or its storage check is, in percent.
    pub percent: Option<u32>,
}
