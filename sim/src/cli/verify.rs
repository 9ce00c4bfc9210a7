//! `nrd-sim verify`.

use super::fail;
use nrd_sim::service::unhex;
use nrd_sim::verify::{Verified, verify};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `verify`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The receipt, as the device or the account page gave it.
    receipt: PathBuf,
    /// The maker root's public key, 64 hexadecimal digits (maker-root.pub).
    #[arg(long)]
    maker_root: PathBuf,
    /// The nonce that it must answer, 64 hexadecimal digits.
    #[arg(long)]
    nonce: Option<String>,
    /// Print one JSON object and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

/// No receipt is larger.
const MAX: u64 = 64 * 1024;

pub(crate) fn run(args: &Args) -> ExitCode {
    let read = |path: &PathBuf| {
        let size = std::fs::metadata(path)?.len();
        match size > MAX {
            true => Err(std::io::Error::other("too large for a receipt or a key")),
            false => std::fs::read(path),
        }
    };
    let frame = match read(&args.receipt) {
        Ok(frame) => frame,
        Err(e) => {
            return fail(
                &format!("{}: {e}", args.receipt.display()),
                "the path of a receipt file",
            );
        }
    };
    let maker = match read(&args.maker_root) {
        Ok(bytes) => String::from_utf8(bytes).ok().and_then(|t| unhex::<32>(&t)),
        Err(e) => {
            return fail(
                &format!("{}: {e}", args.maker_root.display()),
                "the maker's maker-root.pub",
            );
        }
    };
    let Some(maker) = maker else {
        return fail(
            &format!("{}: this is no public key", args.maker_root.display()),
            "a file of 64 hexadecimal digits, such as the service's maker-root.pub",
        );
    };
    let nonce = match args.nonce.as_deref().map(unhex::<32>) {
        None => None,
        Some(Some(nonce)) => Some(nonce),
        Some(None) => {
            return fail(
                "the nonce is not 64 hexadecimal digits",
                "the nonce exactly as it was asked",
            );
        }
    };
    match verify(&frame, &maker, nonce.as_ref()) {
        Ok(v) => show(args, &v),
        Err(e) => {
            if args.json {
                say!(
                    "{}",
                    serde_json::json!({ "verified": false, "why": e.to_string() })
                );
            }
            eprintln!(
                "NOT VERIFIED: {e}\n  try: the receipt file of this device, unaltered, and its maker's root"
            );
            ExitCode::from(1)
        }
    }
}

fn show(args: &Args, v: &Verified) -> ExitCode {
    if args.json {
        let mut object = serde_json::json!(v);
        object["verified"] = true.into();
        say!("{object}");
    } else {
        text(v);
    }
    match v.clean {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}

fn text(v: &Verified) {
    let verdict = match (v.clean, v.subject) {
        (false, _) => "VERIFIED, BUT NOT CLEAN: a step failed",
        (true, "wipe") => "VERIFIED: this device was wiped",
        (true, "clean") => "VERIFIED: this device was clean when it was asked",
        (true, _) => "VERIFIED: this device filled its storage as asked, and erased it",
    };
    say!("{verdict}");
    say!("  device    {} {} ({})", v.model, v.device_id, v.kind);
    if let Some(reason) = v.reason {
        say!("  why       {reason}");
    }
    say!("  method    {} (NIST SP 800-88 Rev. 1)", v.method);
    say!(
        "  sectors   {} of {} erased and read back, {} failed",
        v.erased,
        v.sectors,
        v.failed
    );
    say!(
        "  slots     {}",
        if v.slots_blank {
            "both read back blank"
        } else {
            "NOT blank"
        }
    );
    say!("  epoch     {}, counter {}", v.epoch, v.counter);
    if let Some(bytes) = v.filled_bytes {
        say!("  filled    {bytes} bytes");
    }
    if let Some(nonce) = &v.nonce {
        say!("  nonce     {nonce}");
    }
    say!("  digest    {}", v.digest);
    for (is, text) in [
        (
            !v.root_refuses_past,
            "an old image together with the root key might open: the root key does not refuse past epochs",
        ),
        (
            v.counter_worn_out,
            "the counter is worn out and could not be raised",
        ),
        (
            v.tombstone_failed,
            "the wipe's journal entry could not be written; the keys were destroyed all the same",
        ),
        (
            v.dropped > 0,
            "older receipts of this device were dropped undelivered",
        ),
    ] {
        if is {
            say!("  note      {text}");
        }
    }
    say!(
        "  limits    it shows that this device's key signed it, not that nobody copied the flash before;"
    );
    say!("            whether the key was revoked was not checked");
}
