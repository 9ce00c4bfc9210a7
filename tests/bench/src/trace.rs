//! Operation traces: what is done to the flash, in order.

use crate::rows::small;
use nrd_hal::layout::Layout;
use nrd_sim::device::settle;
use nrd_tests::measure::device::{Device, to_session};
use nrd_tests::measure::flash::{Kind, Op};

/// What can be traced.
pub(crate) const CASES: [&str; 3] = ["boot", "boot-aged", "wipe"];

/// Prints the trace of a case; false when there is none of this name.
pub(crate) fn print(case: &str) -> bool {
    let mut device = Device::new(small(), 5);
    device.activate(64, 256);
    let (tally, layout) = (device.tally(), device.layout());
    match case {
        "boot" | "boot-aged" => {
            for _ in 0..if case == "boot" { 0 } else { 6 } {
                device.update(64, 256, 100);
            }
            tally.record();
            device.boot_by(to_session, |_, agent, _| {
                println!("power-on to the open session");
                show(&layout, &tally.recorded());
                tally.record();
                settle(agent).expect("the boot comes to rest");
                println!("\nfrom there to rest");
                show(&layout, &tally.recorded());
            });
        }
        "wipe" => {
            device.deactivate_from(0, || tally.record());
            println!("from the order to Clean");
            show(&layout, &tally.recorded());
        }
        _ => return false,
    }
    true
}

/// Where an offset lies, in words.
fn place(layout: &Layout, at: u32) -> String {
    let (name, start) = if layout.vault().contains(&at) {
        ("vault", layout.vault_start)
    } else if layout.journal().contains(&at) {
        ("journal", layout.journal_start)
    } else {
        ("slot", layout.slot_start)
    };
    let at = at - start;
    format!("{name} {}+{}", at / 4096, at % 4096)
}

fn show(layout: &Layout, ops: &[Op]) {
    let (mut reads, mut bytes) = (0, 0);
    for op in ops {
        let kind = match op.kind {
            Kind::Read => "read",
            Kind::ReadBack => "read back",
            Kind::Program => "program",
            Kind::Erase => "erase",
        };
        if matches!(op.kind, Kind::Read | Kind::ReadBack) {
            reads += op.times;
            bytes += op.len;
        }
        let times = match op.times {
            1 => String::new(),
            n => format!("  in {n}"),
        };
        println!(
            "{kind:>10}  {:<16} {:>6} B{times}",
            place(layout, op.at),
            op.len
        );
    }
    println!("{reads} reads of {bytes} bytes");
}
