//! `nrd-sim certificate`.

use super::{fail, verify};
use nrd_sim::service::certificate::{Certificate, Names, Paper};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `certificate`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "certificate")]
pub(crate) struct Args {
    #[command(flatten)]
    evidence: verify::Args,
    /// Where the PDF goes.
    #[arg(long)]
    out: PathBuf,
    /// Letter paper instead of A4.
    #[arg(long)]
    letter: bool,
    /// Who sanitized the device; otherwise a line to fill in.
    #[arg(long, default_value = "")]
    clerk: String,
    /// The shop or organization; otherwise a line to fill in.
    #[arg(long, default_value = "")]
    shop: String,
}

const EXAMPLES: &str = "Examples:
  nrd-sim certificate receipt.bin --maker-root service/maker-root.pub --out certificate.pdf
  nrd-sim certificate photo.jpg --maker-root maker-root.pub --device NRD-STB-0EC40A7E0D \\
    --out certificate.pdf --letter --clerk \"Dana Reyes\" --shop \"Second Screen\"";

pub(crate) fn run(args: &Args) -> ExitCode {
    // What does not verify, or is not clean, is told as `verify` tells it.
    let verdict = verify::run(&args.evidence);
    if verdict != ExitCode::SUCCESS {
        return verdict;
    }
    match make(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn make(args: &Args) -> Result<(), ExitCode> {
    let names = Names::new(&args.clerk, &args.shop).ok_or_else(|| {
        fail(
            "a name is too long for the certificate, or has control characters",
            "--clerk and --shop with at most 60 letters each",
        )
    })?;
    let frame = verify::frame(&args.evidence.receipt, args.evidence.json)?;
    let Ok(verified) = verify::look(&args.evidence)? else {
        return Err(fail(
            "the receipt file changed while it was read",
            "the same again",
        ));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| d.as_secs());
    let paper = if args.letter {
        Paper::Letter
    } else {
        Paper::A4
    };
    let certificate = Certificate::new(&verified, &frame, &names, now);
    let pdf = certificate
        .pdf(paper)
        .map_err(|e| fail(&e.to_string(), "the same without --clerk and --shop"))?;
    std::fs::write(&args.out, pdf).map_err(|e| {
        fail(
            &format!("{}: {e}", args.out.display()),
            "--out with a file in a folder that exists",
        )
    })
}
