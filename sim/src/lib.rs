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
//! | [`service`] | the reference service: accounts, devices, orders, receipts, on SQLite or PostgreSQL |
//! | [`web`] | the pages that a person uses, and the device's door |
//! | [`serve`] | runs service and pages over TLS |
//! | [`outbox`] | hands orders to a broker, security events to a receiver |
//! | [`ops`], [`logs`] | what an operator watches |
//! | [`demo`] | the whole story on real parts |
//! | [`desk`] | a returns desk: asks a device to prove that it is clean, and judges the answer |
//! | [`room`] | the living room: devices side by side, with remote, plug and a picture of their flash |
//! | [`world`] | virtual worlds: scenario files, and fleets |
//! | [`process`] | one device as a process over parts in a folder |
//! | [`inspect`] | reads a flash image as an adversary would |
//! | [`verify`] | verifies a receipt offline |
//! | [`pictogram`] | what screen and page both show |
//! | [`when`] | times in words |
//! | [`load`] | real servers and real load, on loopback |
//! | [`sign`] | Ed25519 keys and the frames they sign |
//! | [`powercut`] | cuts power at every operation of a device's life and judges the cells |
#![forbid(unsafe_code)]

pub mod authority;
pub mod demo;
pub mod desk;
pub mod hw;
pub mod inspect;
pub mod load;
pub mod logs;
pub mod ops;
pub mod outbox;
pub mod pictogram;
pub mod powercut;
pub mod process;
pub mod rig;
pub mod room;
pub mod serve;
pub mod service;
pub mod sign;
pub mod verify;
pub mod web;
pub mod when;
pub mod world;
