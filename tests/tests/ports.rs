//! The simulator's own ports pass the conformance suite, power cycles included.

use nrd_agent::wire::DeviceKind;
use nrd_hal::conformance::{after_power_cycle, before_power_cycle, platform};
use nrd_sim::base::sign::keypair;
use nrd_sim::hw::{Board, Chip, Folder, Hardware, Identity, VirtualRng};
use nrd_sim::process::{Order, provision};
use nrd_sim::service::{Service, Settings, ca};
use nrd_tests::part;

#[test]
fn the_virtual_board_passes_on_every_geometry() {
    for (w, e, n) in [(1, 256, 80), (4, 4096, 10), (32, 2048, 9), (256, 8192, 8)] {
        for can_overwrite in [false, true] {
            let mut spec = part(w, e, n);
            spec.can_overwrite = can_overwrite;
            let hw = Hardware::new(Chip::new(spec, 1));
            let maker = keypair(&[9; 32]);
            let mut board =
                Board::new(&hw, [7; 32], 3, &maker, "NRD-1", DeviceKind::Console).unwrap();
            platform(&mut board).unwrap_or_else(|f| panic!("{w} {e} {n}: {f}"));
            let before = before_power_cycle(&mut board).unwrap();
            hw.chip().power_off();
            assert!(
                after_power_cycle(&mut board, &before).is_err(),
                "off is off"
            );
            hw.chip().power_on(5);
            let mut again =
                Board::new(&hw, [7; 32], 4, &maker, "NRD-1", DeviceKind::Console).unwrap();
            after_power_cycle(&mut again, &before).unwrap();
        }
    }
}

#[test]
fn a_device_in_a_folder_passes_and_outlives_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let service = dir.path().join("service");
    Service::open(&service, Settings::default()).unwrap();
    ca::Authority::open(&service, 1_795_478_400).unwrap();
    let home = dir.path().join("tv");
    let order = Order {
        kind: DeviceKind::SetTopBox,
        ca: &service.join("ca.pem"),
        maker_key: None,
        service_root: None,
        device_id: None,
    };
    provision(&home, &order).unwrap();
    let board = |f: &Folder| {
        let certificate = (0..f.made.certificate.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&f.made.certificate[i..i + 2], 16).unwrap())
            .collect();
        let identity = Identity::new(&f.root, &f.made.device_id, certificate);
        Board::assemble(&f.hw, f.root, VirtualRng::system(), identity).unwrap()
    };
    let before = {
        let folder = Folder::open(&home).unwrap();
        let mut board = board(&folder);
        platform(&mut board).unwrap_or_else(|f| panic!("{f}"));
        before_power_cycle(&mut board).unwrap()
    };
    let folder = Folder::open(&home).unwrap();
    after_power_cycle(&mut board(&folder), &before).unwrap();
}
