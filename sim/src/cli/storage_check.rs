//! `nrd-sim desk --link`: the storage check of one device, over a socket as over a
//! cable.

use super::fail;
use super::verify::now_s;
use embedded_io_adapters::std::FromStd;
use nrd_agent::wire::storage::MAX_MESSAGE;
use nrd_hal::messages::{MessageError, Messages};
use nrd_sim::forensics::storage_check::{
    Bounded, CheckFailure, NOT_BOUNDED, Next, NoRandom, StorageCheck, close,
};
use nrd_sim::forensics::verify::{Asked, Question, Refusal, Verified, verify_with};
use nrd_sim::service::desk::{Condition, Desk};
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of a storage check.
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// The device id that its label says.
    #[arg(long, requires = "link")]
    device: Option<String>,
    /// Milliseconds that the device may take from the key to its answer; 500 and 4
    /// a KiB unless said.
    #[arg(long, value_name = "MS", requires = "link")]
    limit: Option<u64>,
    /// Write the device's receipt into this file.
    #[arg(long, value_name = "FILE", requires = "link")]
    receipt: Option<PathBuf>,
    /// Print one JSON object and nothing else on standard output.
    #[arg(long, requires = "link")]
    json: bool,
}

/// How long a device may be silent: longer than any erase of a block, and than its
/// answer may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why there is no verdict, or a bad one.
enum Stop {
    Cable(String),
    Check(CheckFailure),
}

pub(crate) fn run(link: &str, args: &CheckArgs, desk: &Desk) -> Result<ExitCode, ExitCode> {
    let limit = args.limit.map(Duration::from_millis);
    let bounded = match check(link, limit) {
        Ok(bounded) => bounded,
        Err(Stop::Cable(why)) => {
            refuse(args, &why, Some(Condition::Off));
            return Err(fail(
                &format!("{link}: {why}"),
                "--link as the device was started with, and the device switched on",
            ));
        }
        Err(Stop::Check(why)) => {
            let condition = match why {
                CheckFailure::Refused(reason) => Condition::of_cable(reason),
                CheckFailure::Version(_) | CheckFailure::Conversation => Some(Condition::Foreign),
                CheckFailure::Size { .. }
                | CheckFailure::Digest
                | CheckFailure::TooSlow { .. }
                | CheckFailure::Receipt
                | CheckFailure::Random => None,
            };
            refuse(args, &why.to_string(), condition);
            return Ok(ExitCode::from(1));
        }
    };
    if let Some(path) = &args.receipt {
        std::fs::write(path, &bounded.receipt)
            .map_err(|e| fail(&format!("{}: {e}", path.display()), "a folder with room"))?;
    }
    match signed(&bounded, args, desk) {
        Ok(v) if v.clean && !v.revocation.revoked() => {
            show(args, &bounded, &v);
            Ok(ExitCode::SUCCESS)
        }
        Ok(v) if v.clean => {
            refuse(args, &v.revocation.in_words(), None);
            Ok(ExitCode::from(1))
        }
        Ok(_) => {
            refuse(
                args,
                "it read back what was sent, and then did not erase it: it is not clean",
                None,
            );
            Ok(ExitCode::from(1))
        }
        Err(e) => {
            refuse(args, &e.to_string(), None);
            Ok(ExitCode::from(1))
        }
    }
}

/// Runs the check.
fn check(link: &str, limit: Option<Duration>) -> Result<Bounded, Stop> {
    let broken = |e: MessageError<io::Error>| {
        Stop::Cable(match e {
            MessageError::Closed => "the device has ended the connection".to_owned(),
            MessageError::TooLong => CheckFailure::Conversation.to_string(),
            MessageError::Stream(e) => e.to_string(),
        })
    };
    let stream = connect(link).map_err(|e| Stop::Cable(e.to_string()))?;
    let mut cable = Messages::new(FromStd::new(stream));
    let mut check = StorageCheck::new(limit, |out: &mut [u8]| {
        getrandom::fill(out).map_err(|_| NoRandom)
    });
    let begun = Instant::now();
    let mut buffer = [0; MAX_MESSAGE];
    loop {
        let step = match check.next(begun.elapsed()) {
            Ok(Next::Send(message)) => {
                cable.send(&message).map_err(broken)?;
                Ok(())
            }
            Ok(Next::Wait) => {
                let said = cable.receive(&mut buffer).map_err(broken)?;
                check.take(said, begun.elapsed())
            }
            Ok(Next::Done(bounded)) => return Ok(bounded),
            Err(e) => Err(e),
        };
        if let Err(e) = step {
            // It erases what it has stored; if it has gone, its next boot does.
            drop(cable.send(&close()));
            return Err(Stop::Check(e));
        }
    }
}

fn connect(link: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("no such address");
    for at in link.to_socket_addrs()? {
        match TcpStream::connect_timeout(&at, Duration::from_secs(10)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Whose receipt it is.
fn signed(bounded: &Bounded, args: &CheckArgs, desk: &Desk) -> Result<Verified, Refusal> {
    let question = Question {
        device_id: args.device.as_deref(),
        asked: Some(Asked {
            nonce: &bounded.key,
            earlier: &[],
        }),
        stored: Some(&bounded.digest),
        ..Question::new(desk.maker_root())
    };
    verify_with(&bounded.receipt, question, &desk.lists(), now_s())
}

/// Says why nothing was bounded and, where that is known, what state the device is
/// in and what to do: in the words of the desk's pages.
fn refuse(args: &CheckArgs, why: &str, condition: Option<Condition>) {
    let words = condition.map(Condition::words);
    if args.json {
        say!(
            "{}",
            serde_json::json!({
                "bounded": false,
                "why": why,
                "state": words.map(|w| w.title),
                "next": words.map(|w| w.next),
            })
        );
    }
    eprintln!("NOT BOUNDED: {why}");
    if let Some(words) = words {
        eprintln!("  state     {}", words.title);
        eprintln!("  means     {}", words.means);
        eprintln!("  next      {}", words.next);
    }
}

fn show(args: &CheckArgs, b: &Bounded, v: &Verified) {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    if args.json {
        say!(
            "{}",
            serde_json::json!({
                "bounded": true,
                "device_id": v.device_id,
                "bytes": b.bytes(),
                "vault": b.vault,
                "further": b.further,
                "answer_ms": ms(b.elapsed),
                "limit_ms": ms(b.limit),
                "bytes_to_device": b.traffic.sent,
                "bytes_from_device": b.traffic.received,
                "shown": b.shows(),
                "not_shown": NOT_BOUNDED,
                "revocation": v.revocation.in_words(),
                "receipt": v.digest,
            })
        );
        return;
    }
    say!("BOUNDED: when the key came, this desk’s random bytes stood in all the storage that");
    say!("the device declares; then it was erased");
    say!("  device    {} {}", v.model, v.device_id);
    say!(
        "  storage   {} bytes declared: vault {}, further memory {}",
        b.bytes(),
        b.vault,
        b.further
    );
    let bits = 8 * (b.traffic.sent + b.traffic.received);
    say!(
        "  cable     {} bytes to it, {} from it: {:.1} s at 1 Mbit/s",
        b.traffic.sent,
        b.traffic.received,
        bits as f64 / 1e6
    );
    for line in b.shows() {
        say!("  shown     {line}");
    }
    for line in NOT_BOUNDED {
        say!("  not shown {line}");
    }
    say!("  revoked?  {}", v.revocation.in_words());
    say!("  receipt   {}", v.digest);
}
