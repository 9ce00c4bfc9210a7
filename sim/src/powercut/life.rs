//! The life of a device as a script, and the model it is held against.

use crate::authority::Authority;
use crate::hw::{Board, Hardware};
use nrd_agent::log::Entry;
use nrd_agent::wire::{ActivationId, DeviceKind, MAX_FRAME, OrderKind};
use nrd_agent::{Agent, Class, Config, Error, Memory, State, Step};
use std::collections::BTreeMap;

/// A promise that was broken, and how.
pub type Violation = String;

/// One act of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Activate,
    Put(Class, u16, u8, usize),
    Forget(Class),
    Remove(Class, u16),
    Renew,
    PowerCycle,
    SignOut,
    DeactivateHere,
    DeactivateByOrder,
    Deliver,
}

/// The script: two owners, so that the second finds nothing of the first.
pub(super) fn script(value: usize) -> Vec<Act> {
    use Act::*;
    let mut s = vec![
        Activate,
        Put(Class::Email, 0, b'e', value),
        Put(Class::Payment, 0, b'p', value),
        Put(Class::PostalAddress, 1, b'a', value / 2),
        PowerCycle,
        Renew,
        Put(Class::Email, 0, b'f', value),
        Forget(Class::Payment),
        Put(Class::Payment, 0, b'q', value / 3 + 1),
        Remove(Class::PostalAddress, 1),
    ];
    // Enough updates that both logs go round.
    s.extend((0..12).map(|i| Put(Class::Activity, i % 3, b'0' + i as u8, value)));
    s.extend([
        PowerCycle,
        Renew,
        DeactivateByOrder,
        Deliver,
        PowerCycle,
        Activate,
        Put(Class::Name, 7, b'n', value),
        SignOut,
        PowerCycle,
        Activate,
        Put(Class::Telephone, 0, b't', 16),
        PowerCycle,
        DeactivateHere,
        Deliver,
    ]);
    s
}

/// What the outside knows: what was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) active: bool,
    pub(super) signed_out: bool,
    pub(super) data: BTreeMap<(u8, u16), Vec<u8>>,
    /// A wipe was acknowledged or seen and must reach its receipt.
    pub(super) wiping: bool,
    pub(super) receipts: usize,
}

fn number(c: Class) -> u8 {
    c as u8
}

/// Buffers that the agent borrows. A reboot drops them with every object.
pub(super) struct Ram {
    journal_table: Vec<u32>,
    journal_index: Vec<Entry>,
    vault_table: Vec<u32>,
    vault_index: Vec<Entry>,
    scratch: Vec<u8>,
}

impl Default for Ram {
    fn default() -> Self {
        Ram {
            journal_table: vec![0; 8],
            journal_index: vec![Entry::default(); nrd_agent::agent::JOURNAL_RECORDS],
            vault_table: vec![0; 4096],
            vault_index: vec![Entry::default(); 64],
            scratch: vec![0; 2048],
        }
    }
}

/// Everything beside the chip that a run needs.
pub(super) struct World {
    pub(super) hw: Hardware,
    pub(super) root: [u8; 32],
    pub(super) authority: Authority,
    pub(super) model: Model,
    pub(super) secrets: Vec<Vec<u8>>,
    pub(super) draws: u64,
    seed: u64,
}

/// Most steps a boot or a wipe may take.
const MAX_STEPS: usize = 20_000;

impl World {
    pub(super) fn new(hw: Hardware, seed: u64) -> Self {
        World {
            hw,
            root: [0x5A; 32],
            authority: Authority::new(seed),
            model: Model::default(),
            secrets: Vec::new(),
            draws: seed,
            seed,
        }
    }

    /// A copy that goes on independently.
    pub(super) fn fork(&self) -> World {
        let chip = self.hw.chip().clone();
        let mut authority = Authority::new(self.seed);
        authority.clone_progress(&self.authority);
        World {
            hw: Hardware::new(chip),
            root: self.root,
            authority,
            model: self.model.clone(),
            secrets: self.secrets.clone(),
            draws: self.draws,
            seed: self.seed,
        }
    }

    fn config(&self) -> Config {
        Config {
            service_root: self.authority.root_key(),
            factory_epoch: 0,
            wait_s: 0,
        }
    }

    /// Builds the device anew, as a boot does, and runs `then` on it.
    pub(super) fn boot<T>(
        &mut self,
        then: impl FnOnce(&mut World, &mut Agent<'_, Board>) -> T,
    ) -> T {
        self.draws = self
            .draws
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let board = Board::new(
            &self.hw,
            self.root,
            self.draws,
            &self.authority.maker,
            "NRD-SIM-0001",
            DeviceKind::SetTopBox,
        )
        .expect("the geometry was checked");
        let mut ram = Ram::default();
        let memory = Memory {
            journal_table: &mut ram.journal_table,
            journal_index: &mut ram.journal_index,
            vault_table: &mut ram.vault_table,
            vault_index: &mut ram.vault_index,
            scratch: &mut ram.scratch,
        };
        let mut agent = Agent::new(board, self.config(), memory).expect("the geometry was checked");
        then(self, &mut agent)
    }

    fn off(&self) -> bool {
        self.hw.chip().is_off()
    }

    /// Steps until idle; `Err(None)` when the power went.
    pub(super) fn settle(&self, agent: &mut Agent<'_, Board>) -> Result<(), Option<Violation>> {
        let mut errors = 0;
        for _ in 0..MAX_STEPS {
            match agent.step() {
                _ if self.off() => return Err(None),
                Ok(Step::Idle) => return Ok(()),
                Ok(_) => {}
                Err(e) => {
                    errors += 1;
                    if errors > 20 {
                        return Err(Some(format!("the agent cannot go on: {e:?}")));
                    }
                }
            }
        }
        Err(Some("the agent does not come to rest".into()))
    }

    /// Talks to the service until nothing is due now.
    fn talk(&mut self, agent: &mut Agent<'_, Board>) -> Result<(), Option<Violation>> {
        for _ in 0..40 {
            self.settle(agent)?;
            if agent.next_due_ms() != Some(0) {
                return Ok(());
            }
            let mut out = [0u8; MAX_FRAME];
            let request = match agent.poll_request(&mut out) {
                Ok(Some(n)) => out[..n].to_vec(),
                Ok(None) => return Ok(()),
                Err(_) if self.off() => return Err(None),
                Err(e) => return Err(Some(format!("no request: {e:?}"))),
            };
            let reply = self.authority.answer(&request);
            match agent.handle_reply(&reply) {
                _ if self.off() => return Err(None),
                Ok(()) => {}
                Err(e) => return Err(Some(format!("a good reply was refused: {e:?}"))),
            }
        }
        Err(Some("the conversation does not end".into()))
    }

    /// Performs one act on a settled agent. `Err(None)`: the power went.
    pub(super) fn perform(
        &mut self,
        agent: &mut Agent<'_, Board>,
        act: Act,
    ) -> Result<(), Option<Violation>> {
        match act {
            Act::PowerCycle => {}
            Act::Activate => {
                if !matches!(agent.state(), State::Activating | State::Active) {
                    self.done(agent.start_activation())?;
                }
                self.talk(agent)?;
                if agent.state() != State::Active {
                    return Err(Some(format!("activation ended in {:?}", agent.state())));
                }
                self.model.active = true;
                self.model.signed_out = false;
                self.secrets.push(b"Alexandra".to_vec());
            }
            Act::Put(class, id, fill, len) => {
                let value = secret_value(fill, len);
                self.secrets.push(value.clone());
                self.done(agent.put(class, id, &value))?;
                self.model.data.insert((number(class), id), value);
            }
            Act::Remove(class, id) => {
                match agent.remove(class, id) {
                    Err(Error::NotFound) => {}
                    r => self.done(r)?,
                }
                self.model.data.remove(&(number(class), id));
            }
            Act::Forget(class) => {
                self.done(agent.forget(class))?;
                self.model.data.retain(|k, _| k.0 != number(class));
            }
            Act::Renew => {
                agent.platform().clock().advance_ms(25 * 3_600_000);
                self.talk(agent)?;
            }
            Act::SignOut => {
                if agent.state() != State::SignedOut {
                    self.done(agent.sign_out())?;
                }
                self.model.active = false;
                self.model.signed_out = true;
                self.model.data.clear();
                self.talk(agent)?;
            }
            Act::DeactivateHere => {
                if agent.state() != State::Clean {
                    self.done(agent.deactivate())?;
                    self.gone();
                }
                self.settle(agent)?;
                self.wiped(agent)?;
            }
            Act::DeactivateByOrder => {
                if agent.state() != State::Clean {
                    let id = activation_id(&self.authority);
                    let epoch = agent.platform().with_chip(|c| c.counter());
                    let order = self.authority.order(
                        agent.device_id(),
                        epoch,
                        id,
                        1,
                        OrderKind::Deactivate,
                    );
                    if agent.state() == State::Active {
                        let mut out = [0u8; 192];
                        let r = agent.apply_order(&order, &mut out).map(|_| ());
                        self.done(r)?;
                        self.gone();
                    }
                }
                self.settle(agent)?;
                self.wiped(agent)?;
            }
            Act::Deliver => {
                self.talk(agent)?;
                if self.authority.receipts.len() != self.model.receipts {
                    return Err(Some(format!(
                        "{} receipts delivered of {}",
                        self.authority.receipts.len(),
                        self.model.receipts
                    )));
                }
            }
        }
        Ok(())
    }

    fn gone(&mut self) {
        self.model.active = false;
        self.model.signed_out = false;
        self.model.data.clear();
        self.model.wiping = true;
    }

    fn wiped(&mut self, agent: &mut Agent<'_, Board>) -> Result<(), Option<Violation>> {
        if agent.state() != State::Clean {
            return Err(Some(format!("the wipe ended in {:?}", agent.state())));
        }
        if self.model.wiping {
            self.model.wiping = false;
            self.model.receipts += 1;
        }
        Ok(())
    }

    fn done<E: std::fmt::Debug>(&self, r: Result<(), E>) -> Result<(), Option<Violation>> {
        match r {
            _ if self.off() => Err(None),
            Ok(()) => Ok(()),
            Err(e) => Err(Some(format!("refused without a fault: {e:?}"))),
        }
    }
}

fn activation_id(authority: &Authority) -> ActivationId {
    authority.activation_id()
}

/// A value that no chance produces, so that a search for it means something.
fn secret_value(fill: u8, len: usize) -> Vec<u8> {
    let mut v = format!("SECRET-{}-", fill as char).into_bytes();
    let mut x = u32::from(fill).wrapping_mul(2_654_435_761);
    while v.len() < len.max(12) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        v.push(x as u8);
    }
    v
}
