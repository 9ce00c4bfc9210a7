//! The reference service and the real agent, over the real database.

mod devices;
mod guessing;
mod receipts;
mod restored;

use nrd_sim::service::account::DeviceStatus;
use nrd_tests::bench::Bench;

const DAY_MS: u64 = 24 * 3_600_000;

fn standing(bench: &Bench, n: usize) -> DeviceStatus {
    let devices = bench.service.devices(bench.account(n)).unwrap();
    devices[0].status
}
