//! The smallest host: a device in RAM that is activated against a service in
//! process, keeps an e-mail address, recognises its account holder after a
//! power cut, is deactivated by the person in front of it, and proves that it
//! is clean.
//!
//! ```text
//! cargo run -p nrd-agent --example smallest_host
//! ```
//!
//! In a product three things are yours: the platform (a port of `nrd-hal`, see
//! `hal/examples/ram_port/`), the HTTPS that posts a request, and the screen.
//! Here `TestPlatform` and `StubService` stand for the first two.

use nrd_agent::wire::{self, MAX_FRAME, MakerCertificate, Method, Receipt, Subject, WipeReason};
use nrd_agent::{Agent, Class, Error, Next};
use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
use nrd_hal::Clock;
use nrd_hal::crypto::RingCrypto;
use std::io::{self, Write};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    run(&mut io::stdout().lock())
}

/// The whole story; prints it to `out`.
pub(crate) fn run(out: &mut impl Write) -> Outcome {
    let mut service = StubService::new(1);
    // The account holder takes a moment to type the code.
    service.pending_polls = 1;
    let device = TestPlatform::builder().build(&service);

    let mut memory = TestMemory::default();
    let mut agent = boot(&device, &service, &mut memory)?;
    host_loop(&mut agent, &mut service, out)?;

    writeln!(out, "\nThe person chooses \"Sign in\".")?;
    agent.start_activation()?;
    host_loop(&mut agent, &mut service, out)?;
    agent.put(Class::Email, 1, b"alex@example.org")?;

    writeln!(out, "\nThe power fails and comes back.")?;
    device.reboot();
    let mut memory = TestMemory::default();
    let mut agent = boot(&device, &service, &mut memory)?;
    host_loop(&mut agent, &mut service, out)?;
    let mut value = [0; 64];
    let n = agent.display_name(&mut value)?;
    writeln!(out, "Welcome back, {}!", text(&value[..n]))?;
    let n = agent.get(Class::Email, 1, &mut value)?;
    writeln!(out, "Signed in as {}.", text(&value[..n]))?;

    writeln!(
        out,
        "\nThe person chooses \"Deactivate\" and holds the key."
    )?;
    // From here on no power cut brings the account back.
    agent.deactivate()?;
    host_loop(&mut agent, &mut service, out)?;
    match agent.get(Class::Email, 1, &mut value) {
        Ok(_) => return Err("the e-mail address outlived the account".into()),
        Err(e) => writeln!(out, "The e-mail address? \"{e}\"")?,
    }

    // The receipt was delivered. Anyone who has the maker's key can read it.
    let receipt = service.receipts.first().ok_or("no receipt was delivered")?;
    writeln!(out, "\n{}", in_words(receipt, &service.maker_key())?)?;
    Ok(())
}

/// A boot. The agent owns its platform and borrows its memory. `TestPlatform`
/// is a handle, so that the story can move the clock meanwhile.
fn boot<'m>(
    device: &TestPlatform,
    service: &StubService,
    memory: &'m mut TestMemory,
) -> Result<Agent<'m, TestPlatform>, String> {
    Agent::new(device.clone(), service.config(), memory.lend())
        .map_err(|e| format!("the flash or the memory does not do: {e:?}"))
}

/// What firmware does all day: whatever the agent says, until it waits for a
/// person.
fn host_loop(
    agent: &mut Agent<'_, TestPlatform>,
    service: &mut StubService,
    out: &mut impl Write,
) -> Outcome {
    let mut request = [0; MAX_FRAME];
    let mut shown = None;
    loop {
        let next = agent.poll(&mut request);
        let status = agent.status();
        if shown != Some(status.state) {
            writeln!(out, "  [{:?}]", status.state)?;
            shown = Some(status.state);
        }
        match next {
            // One bounded piece of work is done: an erase block, a few
            // programs. Feed the watchdog, draw the screen, go on.
            Next::Again => {}
            Next::Post(n) => {
                // Your HTTPS goes here: POST /device/v1. When no reply comes,
                // call `agent.exchange_failed()` instead.
                let reply = service.answer(&request[..n]);
                // A refused reply changes nothing and the agent backs off: a
                // line in the log is all that is left to do.
                if let Err(e) = agent.handle_reply(&reply) {
                    writeln!(out, "  a reply was refused: {e}")?;
                }
            }
            Next::WaitUntil(uptime_ms) => {
                let Some((code, _pictogram)) = status.code else {
                    return Ok(()); // nothing to do until a person acts
                };
                writeln!(out, "  Enter {code} on the website.")?;
                sleep_until(agent, uptime_ms);
            }
            // A wipe has ended. A product resets its processor here, so that
            // copies of keys in libraries' memory go as well.
            Next::Reset => writeln!(out, "  (reset the processor now)")?,
        }
    }
}

/// Here time is a number that is moved forward.
fn sleep_until(agent: &mut Agent<'_, TestPlatform>, uptime_ms: Option<u64>) {
    let clock = &mut agent.platform().clock;
    let now = clock.uptime_ms();
    clock.advance_ms(uptime_ms.map_or(1000, |at| at.saturating_sub(now)));
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or("(not text)")
}

/// Verifies a receipt as a returns desk does, offline, and says what it proves.
fn in_words(frame: &[u8], maker_key: &[u8; 32]) -> Result<String, Error> {
    // The receipt brings its certificate: the maker vouches for the device's
    // key, and the device's key for the receipt. Nothing in it counts before
    // both signatures are checked.
    let unverified: Receipt<'_> = wire::peek(frame)?;
    let device: MakerCertificate =
        wire::decode_signed::<_, RingCrypto>(unverified.certificate, maker_key)?;
    let receipt: Receipt<'_> = wire::decode_signed::<_, RingCrypto>(frame, &device.public_key)?;

    let why = match receipt.subject {
        Subject::Wipe { reason, .. } => match reason {
            WipeReason::Order => "was wiped by an order from the account page",
            WipeReason::Local => "was wiped by a person at the device",
            WipeReason::DeadMan => "wiped itself after a long time without the service",
            WipeReason::VisitEnded => "was wiped at the end of a visit",
            WipeReason::Abandoned => "was wiped after an activation that was given up",
            WipeReason::Recovered => "finished a wipe that it found begun",
        },
        Subject::Clean { .. } => "was read again when somebody asked",
        Subject::Stored { .. } => "stored what somebody sent, read it back and erased it",
    };
    let how = match receipt.method {
        Method::Purge => "purge (the keys were erased from their cells)",
        Method::Clear => "clear (the keys were destroyed as far as the part allows)",
        Method::Failed => "FAILED: the device is not clean",
    };
    let sectors = receipt.sectors;
    Ok(format!(
        "Receipt: {} ({}) {why}. {} of {} sectors were erased and read back, {} failed. \
         Method after NIST SP 800-88 Rev. 2: {how}. Its epoch counter went from {} to {}.",
        device.device_id,
        device.model,
        sectors.erased,
        sectors.total,
        sectors.failed,
        receipt.epoch,
        receipt.counter,
    ))
}
