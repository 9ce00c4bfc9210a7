//! An account with a device in every state that its page can show: real
//! agents in process, brought there as life would.

use nrd_agent::wire::DeviceKind;
use nrd_agent::{Agent, Config, State};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;
use nrd_hal::{Crypto as _, Geometry};
use nrd_sim::device::{AgentBuffers, exchange, settle, talk};
use nrd_sim::hw::{Board, Chip, ChipSpec, Hardware, Identity, VirtualRng, Worn};
use nrd_sim::service::Service;
use nrd_sim::service::store::AccountId;
use nrd_sim::world::InProcess;
use std::sync::Arc;

/// Where the stage's people type.
const HOME: &str = "198.51.100.4";

/// A device on the stage.
pub(crate) struct Actor {
    hw: Hardware,
    id: String,
    model: String,
    kind: DeviceKind,
    service: Arc<Service>,
    boots: u64,
}

impl Actor {
    pub(crate) fn new(service: &Arc<Service>, id: &str, model: &str, kind: DeviceKind) -> Actor {
        let spec = ChipSpec {
            geometry: Geometry {
                size: 256 * 1024,
                write_size: 1,
                erase_size: 4096,
                best_erase: 4096,
            },
            can_overwrite: true,
        };
        Actor {
            hw: Hardware::new(Chip::blank(spec, 1)),
            id: id.to_owned(),
            model: model.to_owned(),
            kind,
            service: service.clone(),
            boots: 0,
        }
    }

    /// Turns one bit of each key slot.
    pub(crate) fn spoil_slots(&mut self) {
        let mut chip = self.hw.chip();
        let geometry = chip.spec().geometry;
        let layout = Layout::plan(&geometry).unwrap();
        for n in 0..2 {
            chip.rot(layout.slot(n).start + 40, 1);
        }
    }

    /// Makes noise of the whole journal.
    pub(crate) fn spoil_journal(&mut self) {
        let mut chip = self.hw.chip();
        let geometry = chip.spec().geometry;
        let layout = Layout::plan(&geometry).unwrap();
        for at in layout.journal() {
            chip.rot(at, 0x5A);
        }
    }

    /// One boot, brought to rest.
    pub(crate) fn boot<T>(
        &mut self,
        then: impl FnOnce(&mut InProcess, &mut Agent<'_, Board>) -> T,
    ) -> T {
        self.boots += 1;
        let root = RingCrypto::sha256(self.id.as_bytes());
        let maker = self.service.keys.maker();
        let identity = Identity::certified(&root, &self.id, maker, &self.model, self.kind);
        let seed = u64::from_le_bytes(root[..8].try_into().unwrap());
        let rng = VirtualRng::new(seed ^ self.boots);
        let board = Board::assemble(&self.hw, root, rng, identity).unwrap();
        if nrd_sim_base::device_kind::has_battery_clock(self.kind) {
            board.clock().set_wall_s(self.service.now_s());
        }
        let config = Config {
            service_root: self.service.keys.root_public(),
            root_version: 0,
            factory_epoch: 0,
            wait_s: 0,
        };
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(board, config, ram.lend()).unwrap();
        settle(&mut agent).unwrap();
        then(&mut InProcess(self.service.clone()), &mut agent)
    }

    /// Activates it; stops after the consent when `unused`.
    pub(crate) fn activate(&mut self, account: AccountId, remember: bool, unused: bool) {
        let id = self.id.clone();
        self.boot(|service, agent| {
            agent.start_activation().unwrap();
            let code = (0..8).find_map(|_| {
                agent.platform().clock().advance_ms(5_000);
                exchange(service, agent).unwrap();
                agent.status().code
            });
            let (code, _) =
                code.unwrap_or_else(|| panic!("{id} shows no code but {:?}", agent.status()));
            let row = service.look_up_code(account, &code).unwrap();
            service.approve(account, &row, 1, remember, HOME).unwrap();
            if !unused {
                agent.platform().clock().advance_ms(5_000);
                talk(service, agent).unwrap();
                assert_eq!(agent.state(), State::Active);
            }
        });
    }

    /// Its answer to a returns desk.
    pub(crate) fn prove(&mut self, nonce: [u8; 32]) -> Vec<u8> {
        self.boot(|_, agent| {
            let mut out = [0; 640];
            let n = agent.prove_clean(nonce, &mut out).unwrap();
            out[..n].to_vec()
        })
    }

    /// Switches it on; it says what is due.
    pub(crate) fn call(&mut self) {
        self.boot(|service, agent| {
            if let Some(ms) = agent.next_due_ms() {
                agent.platform().clock().advance_ms(ms);
            }
            talk(service, agent).unwrap();
        });
    }
}

/// Fills the account; the service's clock is moved on by more than a month.
#[expect(clippy::too_many_lines, reason = "a script: one device after another")]
pub(crate) fn fill(service: &Arc<Service>, account: AccountId) {
    use DeviceKind::{Computer, Console, SetTopBox};
    let actor = |id: &str, model: &str, kind| Actor::new(service, id, model, kind);
    let newest = |id: &str| {
        let devices = service.devices(account).unwrap();
        let found = devices.into_iter().find(|d| d.row.device == id).unwrap();
        found.row.id
    };
    let remove = |id: &str| service.remove(account, &newest(id), HOME).unwrap();

    // Long ago.
    let mut attic = actor("NRD-STB-77F0A2", "Lumen Box 2", SetTopBox);
    attic.activate(account, true, false);
    let mut sold = actor("NRD-CON-0419C8", "Kestrel Console", Console);
    sold.activate(account, true, false);
    remove("NRD-CON-0419C8");
    sold.call();
    service.advance_s(2 * 3600);
    let mut broken = actor("NRD-STB-3B9D01", "Lumen Box 1", SetTopBox);
    broken.activate(account, true, false);
    remove("NRD-STB-3B9D01");
    // The sector of its first key slot erases no more.
    let geometry = broken.hw.chip().spec().geometry;
    let slot = Layout::plan(&geometry).unwrap().slot(0);
    let mut chip = broken.hw.chip();
    chip.defects().wear_out(slot, Worn::Silent, true, 0);
    drop(chip);
    broken.call();
    let mut again = actor("NRD-STB-5511EE", "Lumen Box 2", SetTopBox);
    again.activate(account, true, false);
    again.boot(|service, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        // Its receipt is lost; it is activated anew.
        agent.start_activation().unwrap();
        settle(agent).unwrap();
        let _ = service;
    });
    service.advance_s(34 * 86_400);

    // Yesterday.
    let mut bedroom = actor("NRD-STB-2C44D9", "Lumen Box 3", SetTopBox);
    bedroom.activate(account, true, false);
    let mut hotel = actor("NRD-STB-8E10B7", "Innkeeper TV, room 412", SetTopBox);
    hotel.activate(account, true, false);
    remove("NRD-STB-8E10B7");
    service.advance_s(20 * 3600);

    // Today.
    let mut living = actor("NRD-STB-E5CAD0", "Lumen Box 3", SetTopBox);
    living.activate(account, true, false);
    let name = "Living room";
    service
        .store
        .rename(account, &newest("NRD-STB-E5CAD0"), name)
        .unwrap();
    let mut console = actor("NRD-CON-A11F35", "Kestrel Console", Console);
    console.activate(account, true, false);
    console.boot(|service, agent| {
        agent.sign_out().unwrap();
        talk(service, agent).unwrap();
    });
    let mut laptop = actor("NRD-PC-90D2F4", "Heron Notebook", Computer);
    laptop.activate(account, false, false);
    let mut cafe = actor("NRD-PC-1177AB", "Heron Notebook", Computer);
    cafe.activate(account, true, false);
    service
        .order_sign_out(account, &newest("NRD-PC-1177AB"), HOME)
        .unwrap();
    let mut copied = actor("NRD-STB-D00DFE", "Lumen Box 3", SetTopBox);
    copied.activate(account, true, false);
    service
        .store
        .revoke_theft(&newest("NRD-STB-D00DFE"), None, service.now_s())
        .unwrap();
    let mut guest = actor(
        "NRD-CON-66B02A",
        "Kestrel Console Pro, 2nd edition",
        Console,
    );
    guest.activate(account, true, true);
    let long = "Grandmother’s very old television, upstairs";
    service
        .store
        .rename(account, &newest("NRD-CON-66B02A"), long)
        .unwrap();
    // In the middle of its removal: accepted, and the receipt still to come.
    let mut kids = actor("NRD-STB-4F7731", "Lumen Box 2", SetTopBox);
    kids.activate(account, true, false);
    remove("NRD-STB-4F7731");
    kids.boot(|service, agent| {
        if let Some(ms) = agent.next_due_ms() {
            agent.platform().clock().advance_ms(ms);
        }
        let id = newest("NRD-STB-4F7731");
        for _ in 0..20 {
            let phase = service.store.activation(&id).unwrap().unwrap().phase;
            if phase == nrd_sim::service::store::ActivationPhase::Delivered {
                return;
            }
            // One request at a time, and nothing wiped in between.
            let mut out = [0u8; nrd_agent::wire::MAX_FRAME];
            if let Ok(Some(n)) = agent.poll_request(&mut out) {
                let reply = service.answer(&out[..n], HOME).unwrap();
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "a refused reply shows in the state that the test waits for"
                )]
                let _ = agent.handle_reply(&reply);
            } else {
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "a refused reply shows in the state that the test waits for"
                )]
                let _ = agent.step();
            }
        }
    });
    living.call();
    laptop.call();
}
