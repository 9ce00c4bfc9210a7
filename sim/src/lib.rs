//! Simulator of the Netflix-ready device agent.
//!
//! The simulator links the same `nrd-agent` that firmware links and never
//! re-implements what it does.
//!
//! | module | what |
//! |---|---|
//! | [`hw`] | virtual hardware: NOR flash with its physics, counter, clock, identity |
//! | [`authority`] | the service's keys and the objects they sign, without any network |
//! | [`rig`] | a device on the bench: the real agent over a virtual board |
//! | [`service`] | the reference service: accounts, devices, orders, receipts, on SQLite |
//! | [`sign`] | Ed25519 keys and the frames they sign |
//! | [`powercut`] | cuts power at every operation of a device's life and judges the cells |
#![forbid(unsafe_code)]

pub mod authority;
pub mod hw;
pub mod pictogram;
pub mod powercut;
pub mod rig;
pub mod service;
pub mod sign;
pub mod verify;
pub mod web;
