//! A nonce and an answer as text that a person can copy, and as a QR code of
//! the same text (ISO/IEC 18004, alphanumeric).
//!
//! ```text
//!   NRD:1:CLEAN:<64 hexadecimal digits>    what a desk asks
//!   NRD:1:ANSWER:<hexadecimal digits>      what a device answers: a receipt frame
//! ```

use image::{ImageReader, Limits, imageops};
use nrd_agent::wire::{Body as _, Receipt};
use nrd_sim_base::{hex, unhex};
use qrcode::{Color, EcLevel, QrCode};
use std::io::Cursor;

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
        CLEAN.to_owned() + &hex(&self.nonce).to_uppercase()
    }

    /// From text.
    pub fn parse(text: &str) -> Option<Challenge> {
        let text: String = plain(text);
        let nonce = unhex(text.strip_prefix(CLEAN)?)?;
        Some(Challenge { nonce })
    }
}

/// Why nothing could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeTextError {
    /// Neither an answer's bytes nor its text.
    NoAnswer,
    /// Larger than any answer.
    TooLong,
    /// Not a picture that can be read: PNG or JPEG are.
    NoPicture,
    /// A picture without a code in it that can be read.
    NoCode,
}

impl ChallengeTextError {
    /// What it means and what to do.
    pub fn text(self) -> &'static str {
        match self {
            ChallengeTextError::NoAnswer => {
                "This is not a device’s answer. It begins with NRD:1:ANSWER:, or is the file that the device wrote."
            }
            ChallengeTextError::TooLong => "This is larger than any answer of a device.",
            ChallengeTextError::NoPicture => {
                "This is no picture that can be read. Use PNG or JPEG."
            }
            ChallengeTextError::NoCode => {
                "There is no readable code in this picture. Fill the picture with the whole code, hold still, and avoid reflections."
            }
        }
    }
}

impl std::fmt::Display for ChallengeTextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ChallengeTextError {}

/// Upper case, without white space.
fn plain(text: &str) -> String {
    let text = text.chars().filter(|c| !c.is_whitespace());
    text.map(|c| c.to_ascii_uppercase()).collect()
}

/// An answer as text.
pub fn answer_text(frame: &[u8]) -> String {
    ANSWER.to_owned() + &hex(frame).to_uppercase()
}

/// An answer's frame, from its bytes or its text.
pub fn parse_answer(given: &[u8]) -> Result<Vec<u8>, ChallengeTextError> {
    const MAX: usize = <Receipt<'_> as nrd_agent::wire::Body<'_>>::MAX;
    if given.starts_with(Receipt::CONTEXT) {
        return match given.len() {
            ..=MAX => Ok(given.to_vec()),
            _ => Err(ChallengeTextError::TooLong),
        };
    }
    // Text may be broken into lines.
    if given.len() > 8 * MAX {
        return Err(ChallengeTextError::TooLong);
    }
    let text = std::str::from_utf8(given).map_err(|_| ChallengeTextError::NoAnswer)?;
    let text = plain(text);
    let digits = text.strip_prefix(ANSWER).unwrap_or(&text).as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return Err(ChallengeTextError::NoAnswer);
    }
    if digits.len() > 2 * MAX {
        return Err(ChallengeTextError::TooLong);
    }
    let value = |c: u8| char::from(c).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|p| Some((value(p[0])? << 4 | value(p[1])?) as u8))
        .collect::<Option<_>>()
        .ok_or(ChallengeTextError::NoAnswer)
}

/// A QR code of `text` as an SVG element: black on white, whatever the page's
/// colours, with its quiet zone. `None` when the text is too long for a code.
pub fn qr_svg(text: &str, label: &str) -> Option<String> {
    const QUIET: usize = 4;
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let n = code.width();
    let mut path = String::new();
    for (y, row) in code.to_colors().chunks(n).enumerate() {
        let mut x = 0;
        while x < n {
            let dark = row[x..].iter().take_while(|c| **c == Color::Dark).count();
            if dark > 0 {
                path += &format!("M{} {}h{dark}v1h-{dark}z", x + QUIET, y + QUIET);
            }
            x += dark.max(1);
        }
    }
    let size = n + 2 * QUIET;
    // Labels are the program's own words.
    Some(format!(
        r##"<svg class="qr" viewBox="0 0 {size} {size}" role="img" aria-label="{label}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{size}v{size}H0z"/><path d="{path}"/></svg>"##
    ))
}

/// Largest picture that is decoded, in pixels a side.
const MAX_SIDE: u32 = 9000;
/// Pictures are looked at in sizes up to this, in pixels a side.
const LOOK: u32 = 1600;

/// The text of the QR code in a photo (PNG or JPEG).
pub fn read_photo(file: &[u8]) -> Result<String, ChallengeTextError> {
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|_| ChallengeTextError::NoPicture)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(256 << 20);
    reader.limits(limits);
    let picture = reader.decode().map_err(|_| ChallengeTextError::NoPicture)?;
    let grey = picture.into_luma8();
    // As it is first, then smaller: noise in a large photo hides a code.
    let longest = grey.width().max(grey.height());
    let mut sizes = vec![longest.min(LOOK)];
    sizes.extend([LOOK / 2].into_iter().filter(|s| *s < longest));
    for size in sizes {
        let scale = f64::from(size) / f64::from(longest.max(1));
        let side = |s: u32| ((f64::from(s) * scale) as u32).max(1);
        let view = if size == longest {
            grey.clone()
        } else {
            let (w, h) = (side(grey.width()), side(grey.height()));
            imageops::resize(&grey, w, h, imageops::FilterType::Triangle)
        };
        let (w, h) = view.dimensions();
        let mut seen =
            rqrr::PreparedImage::prepare_from_greyscale(w as usize, h as usize, |x, y| {
                view.get_pixel(x as u32, y as u32).0[0]
            });
        let text = seen.detect_grids().iter().find_map(|g| g.decode().ok());
        if let Some((_, text)) = text {
            return Ok(text);
        }
    }
    Err(ChallengeTextError::NoCode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_and_an_answer_are_read_as_they_were_written() {
        let c = Challenge { nonce: [0xA7; 32] };
        assert_eq!(Challenge::parse(&c.text()), Some(c));
        assert_eq!(Challenge::parse(&c.text().to_lowercase()), Some(c));
        let mut frame = Receipt::CONTEXT.to_vec();
        frame.extend([0, 1, 254, 255]);
        assert_eq!(parse_answer(&frame), Ok(frame.clone()));
        let text = answer_text(&frame);
        assert_eq!(parse_answer(text.as_bytes()), Ok(frame.clone()));
        let (a, b) = text.split_at(20);
        let broken = format!("  {a}\n {b}\n").to_lowercase();
        assert_eq!(parse_answer(broken.as_bytes()), Ok(frame));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "NRD:1:ANSWER:",
            "NRD:1:ANSWER:0",
            "zz",
            "NRD:1:CLEAN:00",
            "é",
        ] {
            assert_eq!(
                parse_answer(bad.as_bytes()),
                Err(ChallengeTextError::NoAnswer),
                "{bad}"
            );
            assert_eq!(Challenge::parse(bad), None, "{bad}");
        }
        let long = "0".repeat(5000);
        assert_eq!(
            parse_answer(long.as_bytes()),
            Err(ChallengeTextError::TooLong)
        );
        assert_eq!(
            read_photo(b"no picture"),
            Err(ChallengeTextError::NoPicture)
        );
    }
}
