//! A nonce and an answer as text, and as a QR code of that text (ISO/IEC
//! 18004, alphanumeric).
//!
//! ```text
//!   NRD:1:CLEAN:<nonce in base45>     what a desk asks
//!   NRD:1:ANSWER:<frame in base45>    what a device answers: a receipt frame
//!   NRD:1:STATE:<word>                what it says in the place of an answer
//!   <hexadecimal digits>              a nonce or an answer that somebody types
//! ```
//!
//! Base45 (RFC 9285) because a code has 45 signs in 5.5 bits each: 288 bytes
//! then fit version 13 at level M, where hexadecimal digits need version 15.

use super::condition::Condition;
use nrd_agent::State;
use nrd_agent::wire::{Body as _, Receipt};
use qrcode::{Color, EcLevel, QrCode};

const CLEAN: &str = "NRD:1:CLEAN:";
const ANSWER: &str = "NRD:1:ANSWER:";

/// What a desk asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// What must be answered.
    pub nonce: [u8; 32],
}

impl Challenge {
    /// As text.
    pub fn text(&self) -> String {
        CLEAN.to_owned() + &base45::encode(self.nonce)
    }

    /// From text: its code, or the digits of the nonce.
    pub fn parse(text: &str) -> Option<Challenge> {
        let bytes = match one_line(text).strip_prefix(CLEAN) {
            Some(digits) => bytes_of(digits),
            None => typed(text),
        };
        let nonce = bytes?.try_into().ok()?;
        Some(Challenge { nonce })
    }
}

/// What somebody hands in at a desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// An answer's frame, to be judged.
    Answer(Vec<u8>),
    /// What a device says in the place of an answer.
    State(Condition),
}

/// Why nothing could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeTextError {
    /// Neither an answer's bytes nor its text.
    NoAnswer,
    /// The desk's own question.
    Question,
    /// Something that a device sends to its service, and no receipt.
    OtherFrame,
    /// Larger than any answer.
    TooLong,
}

impl ChallengeTextError {
    /// What it means and what to do.
    pub fn text(self) -> &'static str {
        match self {
            ChallengeTextError::NoAnswer => {
                "This is not a device’s answer. It begins with NRD:1:ANSWER:, or is the file that the device wrote. Copy all of it, spaces included."
            }
            ChallengeTextError::Question => {
                "This is the desk’s question, not the device’s answer. Give it to the device, and hand in what the device answers."
            }
            ChallengeTextError::OtherFrame => {
                "A device or its service wrote this, but it is no answer: it says nothing about whether the device is clean. Ask the device with this check’s question."
            }
            ChallengeTextError::TooLong => "This is larger than any answer of a device.",
        }
    }
}

impl std::fmt::Display for ChallengeTextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ChallengeTextError {}

/// The text of a code as one line, in upper case. Programs that scan and
/// forms that are pasted into break lines; a space inside is a digit.
fn one_line(text: &str) -> String {
    let text = text.trim().chars().filter(|c| !matches!(c, '\r' | '\n'));
    text.map(|c| c.to_ascii_uppercase()).collect()
}

/// The bytes of base45 digits, of which each value has one spelling only.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let bytes = base45::decode(digits).ok()?;
    // The library takes a last pair of digits above 255 for its low byte.
    (base45::encode(&bytes) == digits).then_some(bytes)
}

/// The bytes of hexadecimal digits that were typed, in groups or not.
fn typed(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let value = |c: char| c.to_digit(16);
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[a, b]| Some((value(*a)? << 4 | value(*b)?) as u8))
        .collect()
}

/// An answer as text.
pub fn answer_text(frame: &[u8]) -> String {
    ANSWER.to_owned() + &base45::encode(frame)
}

/// The letters of the code that a device shows while it waits for an account.
const CODE: &str = "BCDFGHJKLMNPQRSTVWXZ";

/// Whether `text` is such a code, with its hyphen or without.
fn is_activation_code(text: &str) -> bool {
    let letters = text.trim().chars().filter(|c| *c != '-' && *c != ' ');
    let letters = letters.map(|c| c.to_ascii_uppercase());
    letters.clone().count() == 8 && letters.clone().all(|c| CODE.contains(c))
}

/// What somebody hands in, from its bytes or its text: an answer, or what a
/// device says in the place of one.
pub fn parse_handed(given: &[u8]) -> Result<Handed, ChallengeTextError> {
    if given.starts_with(b"nrd/1/") && !given.starts_with(Receipt::CONTEXT) {
        return Err(ChallengeTextError::OtherFrame);
    }
    // No state, code or question is longer.
    if given.len() <= 256
        && let Ok(text) = std::str::from_utf8(given)
    {
        if let Some(condition) = Condition::parse(text) {
            return Ok(Handed::State(condition));
        }
        if is_activation_code(text) {
            return Ok(Handed::State(Condition::In(State::Activating)));
        }
        if Challenge::parse(text).is_some() {
            return Err(ChallengeTextError::Question);
        }
    }
    parse_answer(given).map(Handed::Answer)
}

/// What a file holds: one answer, or a list of them (SPEC §9): in code form, each
/// beginning on a line of its own, or in typed form, one a line. At most `most`.
pub fn answers_in(file: Vec<u8>, most: usize) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(&file) else {
        return vec![file];
    };
    let begins = |line: &str| {
        let head = line.trim_start().as_bytes().get(..6);
        head.is_some_and(|head| head.eq_ignore_ascii_case(b"NRD:1:"))
    };
    if file.starts_with(b"nrd/1/") || !text.lines().any(begins) && typed(text).is_some() {
        return vec![file];
    }
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut in_code = false;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let new = begins(line);
        in_code |= new;
        match out.last_mut() {
            // The code goes on: line breaks are no part of it.
            Some(last) if in_code && !new => last.extend(line.as_bytes()),
            _ => out.push(line.as_bytes().to_vec()),
        }
        if out.len() > most {
            out.pop();
            break;
        }
    }
    if out.is_empty() { vec![file] } else { out }
}

/// An answer's frame, from its bytes or its text.
pub fn parse_answer(given: &[u8]) -> Result<Vec<u8>, ChallengeTextError> {
    const MAX: usize = <Receipt<'_> as nrd_agent::wire::Body<'_>>::MAX;
    let within = |frame: Vec<u8>| match frame.len() {
        0 => Err(ChallengeTextError::NoAnswer),
        1..=MAX => Ok(frame),
        _ => Err(ChallengeTextError::TooLong),
    };
    if given.starts_with(Receipt::CONTEXT) {
        return within(given.to_vec());
    }
    // Typed digits may stand in groups and lines.
    if given.len() > 8 * MAX {
        return Err(ChallengeTextError::TooLong);
    }
    let text = std::str::from_utf8(given).map_err(|_| ChallengeTextError::NoAnswer)?;
    let bytes = match one_line(text).strip_prefix(ANSWER) {
        Some(digits) => bytes_of(digits),
        None => typed(text),
    };
    bytes.ok_or(ChallengeTextError::NoAnswer).and_then(within)
}

/// Dark modules side by side in a row of a code.
#[derive(Debug, Clone, Copy)]
pub struct DarkRun {
    /// The first one's column.
    pub x: usize,
    /// The row.
    pub y: usize,
    /// How many there are.
    pub length: usize,
}

/// The QR code of `text`: modules a side, and the dark ones. `None` when the
/// text is too long for a code.
pub fn qr_modules(text: &str) -> Option<(usize, Vec<DarkRun>)> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let side = code.width();
    let mut runs = Vec::new();
    for (y, row) in code.to_colors().chunks(side).enumerate() {
        let mut x = 0;
        while x < side {
            let length = row[x..].iter().take_while(|c| **c == Color::Dark).count();
            if length > 0 {
                runs.push(DarkRun { x, y, length });
            }
            x += length.max(1);
        }
    }
    Some((side, runs))
}

/// A QR code of `text` as an SVG element: black on white, whatever the page's
/// colours, with its quiet zone. `None` when the text is too long for a code.
pub fn qr_svg(text: &str, label: &str) -> Option<String> {
    const QUIET: usize = 4;
    let (side, runs) = qr_modules(text)?;
    let dark = runs.iter().map(|r| {
        let (x, y, n) = (r.x + QUIET, r.y + QUIET, r.length);
        format!("M{x} {y}h{n}v1h-{n}z")
    });
    let path: String = dark.collect();
    let size = side + 2 * QUIET;
    // Labels are the program's own words.
    Some(format!(
        r##"<svg class="qr" viewBox="0 0 {size} {size}" role="img" aria-label="{label}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{size}v{size}H0z"/><path d="{path}"/></svg>"##
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_sim_base::hex;

    /// A frame of `n` bytes that looks like a receipt's.
    fn frame(n: usize) -> Vec<u8> {
        let mut frame = Receipt::CONTEXT.to_vec();
        frame.extend(
            (0..)
                .map(|i: usize| (i * 151 + 7) as u8)
                .take(n - frame.len()),
        );
        frame
    }

    #[test]
    fn a_challenge_is_read_as_it_was_written() {
        // A nonce of zeros, and one with spaces among its digits.
        for nonce in [[0; 32], [0x06; 32], [0xA7; 32], [0xFF; 32]] {
            let c = Challenge { nonce };
            assert_eq!(Challenge::parse(&c.text()), Some(c));
            assert_eq!(Challenge::parse(&c.text().to_lowercase()), Some(c));
            let text = c.text();
            let (a, b) = text.split_at(20);
            let broken = format!(" {a}\r\n{b}\n");
            assert_eq!(Challenge::parse(&broken), Some(c));
            let digits = hex(&nonce);
            let (a, b) = digits.split_at(8);
            assert_eq!(Challenge::parse(&format!("{a} {b}\n")), Some(c));
        }
    }

    #[test]
    fn an_answer_is_read_from_bytes_code_and_typed_digits() {
        for n in [15, 16, 288, 289, 640] {
            let frame = frame(n);
            assert_eq!(parse_answer(&frame), Ok(frame.clone()));
            let text = answer_text(&frame);
            assert_eq!(parse_answer(text.as_bytes()), Ok(frame.clone()));
            let (a, b) = text.split_at(20);
            let broken = format!("  {a}\n{b}\n").to_lowercase();
            assert_eq!(parse_answer(broken.as_bytes()), Ok(frame.clone()));
            let digits = hex(&frame);
            let (a, b) = digits.split_at(7);
            let typed = format!("{a} {b}\n").to_uppercase();
            assert_eq!(parse_answer(typed.as_bytes()), Ok(frame));
        }
    }

    #[test]
    fn what_is_no_answer_is_called_by_its_name() {
        let state = Ok(Handed::State(Condition::In(State::Active)));
        assert_eq!(parse_handed(b" nrd:1:state:active\n"), state);
        let waits = Ok(Handed::State(Condition::In(State::Activating)));
        for code in ["BCDF-GHJK", "bcdfghjk", " BCDF GHJK "] {
            assert_eq!(parse_handed(code.as_bytes()), waits, "{code}");
        }
        // Vowels, and digits that somebody may type.
        for other in ["ABCD-GHJK", "12345678", "BCDF-GHJ"] {
            assert!(parse_handed(other.as_bytes()) != waits, "{other}");
        }
        let question = Challenge { nonce: [7; 32] };
        for text in [question.text(), hex(&question.nonce)] {
            let refused = Err(ChallengeTextError::Question);
            assert_eq!(parse_handed(text.as_bytes()), refused, "{text}");
        }
        let outcome = b"nrd/1/outcome\0and what follows";
        let refused = Err(ChallengeTextError::OtherFrame);
        assert_eq!(parse_handed(outcome), refused);
        let answer = frame(288);
        assert_eq!(parse_handed(&answer), Ok(Handed::Answer(answer.clone())));
        let text = answer_text(&answer);
        assert_eq!(parse_handed(text.as_bytes()), Ok(Handed::Answer(answer)));
    }

    #[test]
    fn a_list_is_taken_apart_where_answers_begin() {
        let (a, b) = (frame(288), frame(300));
        let parts = |text: &str| -> Vec<_> {
            let parts = answers_in(text.as_bytes().to_vec(), 10);
            parts.iter().map(|p| parse_handed(p)).collect()
        };
        let answer = |frame: &Vec<u8>| Ok(Handed::Answer(frame.clone()));
        let (code_a, code_b) = (answer_text(&a), answer_text(&b));
        // Codes, one of them broken over lines as mail does it.
        let broken = format!("{}\r\n{}", &code_b[..70], &code_b[70..]);
        let list = format!("\n{code_a}\n\n{broken}\r\nNRD:1:STATE:ACTIVE\n");
        let active = Ok(Handed::State(Condition::In(State::Active)));
        assert_eq!(parts(&list), [answer(&a), answer(&b), active]);
        // Digits, one answer a line; or one answer over several lines.
        let list = format!("{}\n{}\nzz\n", hex(&a), hex(&b));
        let refused = Err(ChallengeTextError::NoAnswer);
        assert_eq!(parts(&list), [answer(&a), answer(&b), refused]);
        let digits = hex(&a);
        let (x, y) = digits.split_at(100);
        assert_eq!(parts(&format!("{x}\n{y}\n")), [answer(&a)]);
        // Bytes are one answer, whatever they are; and no list is endless.
        assert_eq!(answers_in(a.clone(), 10), [a]);
        assert_eq!(answers_in(vec![0xFF, b'\n', 0xFE], 10).len(), 1);
        assert_eq!(answers_in("x\n".repeat(99).into_bytes(), 10).len(), 10);
        assert_eq!(answers_in(Vec::new(), 10).len(), 1);
    }

    #[test]
    fn codes_are_small_enough_for_a_phone() {
        let version = |text: &str| {
            let code = QrCode::with_error_correction_level(text, EcLevel::M).unwrap();
            (code.width() - 17) / 4
        };
        let nonce = [0x5A; 32];
        assert_eq!(version(&Challenge { nonce }.text()), 3);
        assert_eq!(version(&answer_text(&frame(288))), 13);
        // The largest answer still fits a code.
        assert!(qr_svg(&answer_text(&[0xFF; 640]), "x").is_some());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "NRD:1:ANSWER:",
            "NRD:1:ANSWER:0",
            // Beyond two bytes, beyond one byte, and no digits of base45.
            "NRD:1:ANSWER::::",
            "NRD:1:ANSWER:::",
            "NRD:1:ANSWER:ab_",
            "NRD:1:CLEAN:00",
            "zz",
            "0",
            "é",
        ] {
            assert_eq!(
                parse_answer(bad.as_bytes()),
                Err(ChallengeTextError::NoAnswer),
                "{bad}"
            );
            assert_eq!(Challenge::parse(bad), None, "{bad}");
        }
        // Hexadecimal digits belong into the typed form alone, all 64 of them.
        assert_eq!(Challenge::parse(&"A7".repeat(31)), None);
        assert_eq!(Challenge::parse(&"A7".repeat(33)), None);
        let old = format!("NRD:1:CLEAN:{}", "A7".repeat(32));
        assert_eq!(Challenge::parse(&old), None);
        for long in ["0".repeat(5000), "0".repeat(6000)] {
            assert_eq!(
                parse_answer(long.as_bytes()),
                Err(ChallengeTextError::TooLong)
            );
        }
        let long = answer_text(&frame(641));
        assert_eq!(
            parse_answer(long.as_bytes()),
            Err(ChallengeTextError::TooLong)
        );
    }
}
