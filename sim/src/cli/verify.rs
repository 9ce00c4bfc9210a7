//! `nrd-sim verify`.

use super::fail;
use nrd_sim::base::{printable, unhex};
use nrd_sim::forensics::verify::{
    Asked, ListError, Lists, Question, Refusal, SubjectKind, Verdict, Verified, verify_with,
};
use nrd_sim::service::desk::photo::{MAX_FILE, PhotoReader};
use nrd_sim::service::desk::{
    Challenge, ChallengeTextError, Handed, is_picture, parse_handed, read_file,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `verify`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The receipt, as the device or the account page gave it, or a photo
    /// (PNG or JPEG) of its code on a screen or a certificate.
    pub(super) receipt: PathBuf,
    /// The maker root's public key, 64 hexadecimal digits (maker-root.pub).
    #[arg(long)]
    maker_root: PathBuf,
    /// The desk's question that it must answer: its text, the 64 hexadecimal digits
    /// of its nonce, or a file or picture that holds it.
    #[arg(long, alias = "nonce", value_name = "FILE|TEXT")]
    question: Option<String>,
    /// The device id that its label says.
    #[arg(long)]
    device: Option<String>,
    /// The maker's status list; without one, revocation is not checked.
    #[arg(long)]
    status_list: Option<PathBuf>,
    /// The maker's model list; without one, sectors and what the key slots
    /// guarantee are the device's word.
    #[arg(long)]
    model_list: Option<PathBuf>,
    /// Print one JSON object and nothing else on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

/// The exit code of a receipt that contradicts itself: no honest device made it.
const CONTRADICTORY: u8 = 3;

/// No receipt and no key is larger.
const MAX: u64 = 64 * 1024;

pub(crate) fn run(args: &Args) -> ExitCode {
    match look(args) {
        Ok(Ok(v)) => show(args, &v),
        Ok(Err(e)) => refuse(args, &e),
        Err(code) => code,
    }
}

/// The receipt's frame from a file: its bytes, its text, or a photo of its code.
/// What a device has said in the place of an answer is told, and is no receipt.
pub(super) fn frame(path: &Path, json: bool) -> Result<Vec<u8>, ExitCode> {
    let given = read(path, MAX_FILE as u64, "the path of a receipt file")?;
    let given = if is_picture(&given) {
        let read = PhotoReader::of_this_program().read_blocking(given);
        read.map(String::into_bytes).map_err(|e| {
            fail(
                &format!("{}: {e}", path.display()),
                "a photo of the whole code, sharp and without reflections, or the receipt file",
            )
        })?
    } else {
        given
    };
    match parse_handed(&given) {
        Ok(Handed::Answer(frame)) => Ok(frame),
        Ok(Handed::State(said)) => {
            let words = said.words();
            Err(no_answer(json, words.title, words.means, Some(words.next)))
        }
        Err(e @ (ChallengeTextError::Question | ChallengeTextError::OtherFrame)) => {
            Err(no_answer(json, "something else", e.text(), None))
        }
        // The verifier says what is wrong with it.
        Err(ChallengeTextError::NoAnswer | ChallengeTextError::TooLong) => Ok(given),
    }
}

fn no_answer(json: bool, what: &str, means: &str, next: Option<&str>) -> ExitCode {
    if json {
        say!(
            "{}",
            serde_json::json!({ "verified": false, "why": means, "state": what, "next": next })
        );
    }
    eprintln!("NOT AN ANSWER: {what}\n  means     {means}");
    if let Some(next) = next {
        eprintln!("  next      {next}");
    }
    ExitCode::from(1)
}

pub(super) fn look(args: &Args) -> Result<Result<Verified, Refusal>, ExitCode> {
    let frame = frame(&args.receipt, args.json)?;
    let maker = maker_root(&args.maker_root)?;
    let question = args.question.as_deref().map(question).transpose()?;
    let mut lists = Lists::default();
    for path in [&args.status_list, &args.model_list].into_iter().flatten() {
        take(path, |frame| lists.take(frame, &maker))?;
    }
    let question = Question {
        device_id: args.device.as_deref(),
        asked: question.as_ref().map(|q| Asked {
            nonce: &q.nonce,
            earlier: &[],
        }),
        ..Question::new(&maker)
    };
    Ok(verify_with(&frame, question, &lists, now_s()))
}

/// A desk's question, itself or its file.
pub(super) fn question(given: &str) -> Result<Challenge, ExitCode> {
    Challenge::given(given, &PhotoReader::of_this_program()).map_err(|e| {
        fail(
            &e.to_string(),
            "--question with the text or the file that the desk gave",
        )
    })
}

/// Now, Unix seconds.
pub(super) fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}

/// Has a list of the maker's taken from a file.
pub(super) fn take(
    path: &Path,
    taken: impl FnOnce(&[u8]) -> Result<(), ListError>,
) -> Result<(), ExitCode> {
    let frame = read(path, 8 << 20, "a list file of the maker's")?;
    taken(&frame).map_err(|e| {
        fail(
            &format!("{}: {e}", path.display()),
            "the file as the maker published it",
        )
    })
}

/// Reads a file of at most `max` bytes, or says what to do.
pub(super) fn read(path: &Path, max: u64, hint: &str) -> Result<Vec<u8>, ExitCode> {
    read_file(path, max).map_err(|e| fail(&format!("{}: {e}", path.display()), hint))
}

/// Reads a maker's public key.
pub(super) fn maker_root(path: &Path) -> Result<[u8; 32], ExitCode> {
    let bytes = read(path, MAX, "the maker's maker-root.pub")?;
    let text = String::from_utf8(bytes).ok();
    text.and_then(|t| unhex::<32>(&t)).ok_or_else(|| {
        fail(
            &format!("{}: this is no public key", path.display()),
            "a file of 64 hexadecimal digits, such as the service's maker-root.pub",
        )
    })
}

fn refuse(args: &Args, e: &Refusal) -> ExitCode {
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

fn show(args: &Args, v: &Verified) -> ExitCode {
    if args.json {
        let mut object = serde_json::json!(v);
        object["verified"] = true.into();
        say!("{object}");
    } else {
        text(v);
    }
    if v.clean && !v.revocation.revoked() {
        ExitCode::SUCCESS
    } else if !v.contradictions.is_empty() {
        ExitCode::from(CONTRADICTORY)
    } else {
        ExitCode::from(1)
    }
}

fn text(v: &Verified) {
    let verdict = match (v.clean, v.subject) {
        _ if v.revocation.revoked() => {
            "REVOKED: the signatures are good, but the maker no longer counts them"
        }
        _ if !v.contradictions.is_empty() => {
            "NOT PROVEN: the signatures are good, but what was signed contradicts itself"
        }
        (false, _) if v.verdict == Verdict::NotChecked => {
            "NOT PROVEN: there is nothing to hold it against"
        }
        (false, _) => "VERIFIED, BUT NOT CLEAN: a step failed",
        (true, SubjectKind::Wipe) => "VERIFIED: this device was wiped",
        (true, SubjectKind::Clean) => "VERIFIED: this device was clean when it was asked",
        (true, SubjectKind::Stored) => {
            "VERIFIED: this device says that it stored what a desk sent, and erased it"
        }
    };
    say!("{verdict}");
    say!(
        "  device    {} {} ({})",
        // A maker's model is any text: none of it may steer a terminal.
        printable(&v.model),
        printable(&v.device_id),
        v.kind.name()
    );
    for contradiction in &v.contradictions {
        say!("  wrong     {contradiction}");
    }
    if let Some(reason) = v.reason {
        say!("  why       {reason}");
    }
    say!(
        "  method    {} (NIST SP 800-88 Rev. 2, verified by the device itself)",
        v.method.name()
    );
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
    if let Some(bytes) = v.stored_bytes {
        say!("  stored    {bytes} bytes");
    }
    if let Some(nonce) = &v.nonce {
        say!("  nonce     {nonce}");
    }
    say!("  digest    {}", v.digest);
    for limit in v.limits() {
        say!("  limit     {}", printable(&limit));
    }
}
