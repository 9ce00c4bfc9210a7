//! An order key rotated over many waiting orders, while devices are removed.

use super::Spread;
use super::rows::{Rows, peak_memory_mib};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What was seen.
#[derive(Debug, Serialize)]
pub struct RotationReport {
    /// Orders that waited.
    pub orders: u64,
    /// Orders under the new key afterwards, each waiting.
    pub signed_again: u64,
    /// Seconds that the rotation took.
    pub seconds: f64,
    /// Most orders that one transaction signed; 0 where the database does not say.
    pub most_in_one_transaction: u64,
    /// Removals meanwhile.
    pub removals: u64,
    /// Removals that failed.
    pub failed: u64,
    /// What they took.
    pub removal: Spread,
    /// Memory of this process before, and the most until the end, in MiB.
    pub before_mib: u64,
    /// The same at its most.
    pub peak_mib: u64,
}

/// Measures with `orders` waiting orders; up to `removals` removals, one every 50 ms.
///
/// # Errors
/// In words.
pub fn run(
    orders: u64,
    removals: u64,
    postgres: bool,
    say: impl Fn(&str),
) -> Result<RotationReport, String> {
    let rows = Rows::new(postgres)?;
    say("filling the database");
    rows.activations(orders + removals)?;
    rows.orders(removals)?;
    let mine = rows.ids(removals)?;
    let account = rows.account()?;
    let service = rows.open()?;
    let before_mib = peak_memory_mib();
    say("rotating");
    let done = AtomicBool::new(false);
    let began = Instant::now();
    let (rotated, seconds, times, failed) = std::thread::scope(|scope| {
        let rotation = scope.spawn(|| {
            let rotated = service.rotate_order_key();
            done.store(true, Ordering::SeqCst);
            (rotated, began.elapsed().as_secs_f64())
        });
        let (mut times, mut failed) = (Vec::new(), 0);
        for id in &mine {
            if done.load(Ordering::SeqCst) {
                break;
            }
            let began = Instant::now();
            failed += u64::from(service.remove(account, id, "192.0.2.1").is_err());
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            std::thread::sleep(Duration::from_millis(50));
        }
        match rotation.join() {
            Ok((rotated, seconds)) => (rotated.map_err(|e| e.to_string()), seconds, times, failed),
            Err(_) => (Err("the rotation panicked".to_owned()), 0.0, times, failed),
        }
    });
    rotated?;
    let number = |sql: &str| rows.sql(sql)?.parse::<u64>().map_err(|e| e.to_string());
    let most = if postgres {
        // Rows that one transaction wrote have its number.
        number(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM orders WHERE key_version = 2 \
             GROUP BY xmin) AS each",
        )?
    } else {
        0
    };
    let removed = times.len() as u64;
    Ok(RotationReport {
        orders,
        signed_again: number(
            "SELECT count(*) FROM orders WHERE key_version = 2 AND outcome IS NULL",
        )?
        .saturating_sub(removed - failed),
        seconds,
        most_in_one_transaction: most,
        removals: removed,
        failed,
        removal: Spread::of(times),
        before_mib,
        peak_mib: peak_memory_mib(),
    })
}
