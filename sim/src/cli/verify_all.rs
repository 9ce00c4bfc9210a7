//! `nrd-sim verify-all`: a folder or a list of answers, judged one by one.

use super::fail;
use super::verify::{maker_root, now_s, question, read, take};
use nrd_sim::base::printable;
use nrd_sim::forensics::verify::{Asked, Question, Verified, verify_with};
use nrd_sim::service::certificate::{Certificate, Names, Paper};
use nrd_sim::service::desk::photo::{MAX_FILE, PhotoError, PhotoReader};
use nrd_sim::service::desk::{
    Batch, ChallengeTextError, Desk, Handed, MAX_ROWS, NO_ANSWER, Row, answers_in, is_picture,
    parse_handed, read_file,
};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `verify-all`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A folder of answers, or one file: a list of answers, each beginning on a line
    /// of its own. A file may be what the device wrote, its text, or a photo (PNG or
    /// JPEG) of its code.
    answers: PathBuf,
    /// The maker root's public key, 64 hexadecimal digits (maker-root.pub).
    #[arg(long)]
    maker_root: PathBuf,
    /// The desk's question that all of them must answer: its text, the 64 digits of
    /// its nonce, or a file or picture that holds it. Without one, receipts are read
    /// for what they say of the past.
    #[arg(long, value_name = "FILE|TEXT")]
    question: Option<String>,
    /// The ids on the labels, a file with one a line: other devices are not taken,
    /// and those that gave no answer are named.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Where the table of verdicts goes (RFC 4180).
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// A folder for a certificate (PDF) of each device that is proven.
    #[arg(long, value_name = "FOLDER")]
    certificates: Option<PathBuf>,
    /// Letter paper instead of A4.
    #[arg(long)]
    letter: bool,
    /// Who works at the desk, for table and certificates.
    #[arg(long, default_value = "")]
    clerk: String,
    /// The shop or organization.
    #[arg(long, default_value = "")]
    shop: String,
    /// The maker's status list; without one, revocation is not checked.
    #[arg(long)]
    status_list: Option<PathBuf>,
    /// The maker's model list.
    #[arg(long)]
    model_list: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  nrd-sim verify-all answers/ --question question.txt --maker-root maker-root.pub \\
    --csv verdicts.csv --certificates certificates --clerk \"Dana Reyes\" --shop \"Second Screen\"
  nrd-sim verify-all receipts.txt --maker-root maker-root.pub --labels labels.txt

Exit status: 0 all are proven; 1 some are not, or did not answer; 2 it could not begin.";

/// No list of labels is larger.
const MAX_LABELS: u64 = 1 << 20;

pub(crate) fn run(args: &Args) -> ExitCode {
    match judge(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(code) => code,
    }
}

/// True when every device is proven.
fn judge(args: &Args) -> Result<bool, ExitCode> {
    let names = Names::new(&args.clerk, &args.shop).ok_or_else(|| {
        fail(
            "a name is too long for the table, or has control characters",
            "--clerk and --shop with at most 60 letters each",
        )
    })?;
    let desk = Desk::new(maker_root(&args.maker_root)?);
    for path in [&args.status_list, &args.model_list].into_iter().flatten() {
        take(path, |frame| desk.take_list(frame))?;
    }
    let asked = args.question.as_deref().map(question).transpose()?;
    let nonce = asked.map(|q| q.nonce);
    let files = files(&args.answers)?;
    let labels = labels(args.labels.as_deref())?;
    let internal = |e: nrd_sim::service::Error| fail(&e.to_string(), "the same again");
    let batch = desk.batch_of(nonce, labels, now_s()).map_err(internal)?;
    let mut certificates = HashMap::new();
    'files: for (n, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for (given, handed) in answers(file, &name) {
            let frame = match &handed {
                Ok(Handed::Answer(frame)) => Some(frame.clone()),
                Ok(Handed::State(_)) | Err(_) => None,
            };
            let row = desk.take_in(&batch.id, &given, handed, now_s());
            let Some(row) = row.map_err(internal)? else {
                eprintln!(
                    "NOT READ: more than {MAX_ROWS} answers; {} and what comes after it: hand them in apart",
                    printable(&files[n].display().to_string())
                );
                break 'files;
            };
            tell(&row);
            if let (true, Some(folder), Some(frame)) = (row.good, &args.certificates, frame) {
                let v = statement(&desk, nonce, &frame)?;
                let file = certificate(folder, args.letter, &v, &frame, &names)?;
                certificates.insert(row.statement, file);
            }
        }
    }
    let done = desk.batch(&batch.id).unwrap_or(batch);
    for label in done.missing() {
        say!("no   {}: {}", printable(label), NO_ANSWER.0);
    }
    if let Some(path) = &args.csv {
        let link = |row: &Row| {
            certificates
                .get(&row.statement)
                .cloned()
                .unwrap_or_default()
        };
        std::fs::write(path, done.csv(&names, link)).map_err(|e| {
            fail(
                &format!("{}: {e}", path.display()),
                "--csv with a file in a folder that exists",
            )
        })?;
    }
    Ok(sum(&done, files.len()))
}

/// Says how many there are of each; true when every device is proven.
fn sum(done: &Batch, files: usize) -> bool {
    let of = done.rows.len() + done.missing().count();
    say!("{} of {of} proven, from {files} files", done.good());
    of > 0 && done.good() == of
}

fn tell(row: &Row) {
    let who = if row.device_id.is_empty() {
        "no device"
    } else {
        &row.device_id
    };
    let proven = if row.good { "yes" } else { "no " };
    say!(
        "{proven}  {}: {} ({})",
        printable(who),
        row.title,
        row.given
    );
    if !row.good {
        say!("     {}", printable(&row.why));
    }
}

/// The files to read, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, ExitCode> {
    let refused = |e: io::Error| {
        fail(
            &format!("{}: {e}", path.display()),
            "a folder of answers, or a file that holds them",
        )
    };
    if !path.is_dir() {
        std::fs::metadata(path).map_err(refused)?;
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && !entry.path().is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn labels(path: Option<&Path>) -> Result<Vec<String>, ExitCode> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let text = read(path, MAX_LABELS, "a file of device ids, one a line")?;
    let text = String::from_utf8_lossy(&text);
    let labels: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let wrong = labels
        .iter()
        .find(|id| nrd_agent::wire::DeviceId::new(id).is_none());
    match wrong {
        None if labels.len() <= MAX_ROWS => Ok(labels),
        None => Err(fail(
            &format!("more than {MAX_ROWS} labels"),
            "fewer of them, with their answers",
        )),
        Some(id) => {
            let id: String = id.chars().take(40).collect();
            Err(fail(
                &format!("{}: `{id}` is no device id", path.display()),
                "1 to 32 printable ASCII characters without spaces",
            ))
        }
    }
}

/// What one file holds. A file that cannot be read costs its own row.
fn answers(path: &Path, name: &str) -> Vec<(String, Result<Handed, &'static str>)> {
    let one = |handed| vec![(name.to_owned(), handed)];
    // A pipe would hold this program for ever.
    if !path.is_file() {
        return one(Err("This is no ordinary file."));
    }
    let Ok(file) = read_file(path, MAX_FILE as u64) else {
        return one(Err(
            "This file cannot be read, or is larger than any answer.",
        ));
    };
    if is_picture(&file) {
        let text = PhotoReader::of_this_program().read_blocking(file);
        return one(match text {
            Ok(text) => parse_handed(text.as_bytes()).map_err(ChallengeTextError::text),
            Err(e) => Err(PhotoError::text(e)),
        });
    }
    let mut answers = answers_in(file, MAX_ROWS + 1);
    if let [answer] = &mut answers[..] {
        return one(parse_handed(answer).map_err(ChallengeTextError::text));
    }
    let row = |(n, answer): (usize, Vec<u8>)| {
        let handed = parse_handed(&answer).map_err(ChallengeTextError::text);
        (format!("{name}, {}", n + 1), handed)
    };
    answers.into_iter().enumerate().map(row).collect()
}

/// What was signed, once more: a certificate relies on nothing else.
fn statement(desk: &Desk, nonce: Option<[u8; 32]>, frame: &[u8]) -> Result<Verified, ExitCode> {
    let question = Question {
        asked: nonce.as_ref().map(|nonce| Asked {
            nonce,
            earlier: &[],
        }),
        ..Question::new(desk.maker_root())
    };
    verify_with(frame, question, &desk.lists(), now_s())
        .map_err(|e| fail(&e.to_string(), "the same again"))
}

/// Writes a certificate; its file's name.
fn certificate(
    folder: &Path,
    letter: bool,
    v: &Verified,
    frame: &[u8],
    names: &Names,
) -> Result<String, ExitCode> {
    let paper = if letter { Paper::Letter } else { Paper::A4 };
    let pdf = Certificate::new(v, frame, names, now_s())
        .pdf(paper)
        .map_err(|e| fail(&e.to_string(), "the same without --clerk and --shop"))?;
    // An id may hold any sign of a file system; the digest tells two apart.
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let id: String = v.device_id.chars().map(plain).collect();
    let digest: String = v.digest.chars().take(8).collect();
    let name = format!("{id}-{digest}.pdf");
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let path = folder.join(&name);
        std::fs::write(path, pdf)
    });
    written.map_err(|e| {
        fail(
            &format!("{}: {e}", folder.display()),
            "--certificates with a folder that can be written",
        )
    })?;
    Ok(name)
}
