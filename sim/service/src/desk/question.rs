//! A desk's question as people carry it: typed or scanned as text, as a file, or
//! as a picture of its code.

use super::challenge_text::Challenge;
use super::photo::{MAX_FILE, PhotoError, PhotoReader};
use std::io::{self, Read as _};
use std::path::Path;

/// Why there is no question.
#[derive(Debug)]
pub enum QuestionError {
    /// Neither a question nor a file of this name.
    Neither,
    /// The file was not read.
    File(io::Error),
    /// No code was read from the picture.
    Photo(PhotoError),
    /// The file, or the code, holds something else.
    Other,
}

impl std::fmt::Display for QuestionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QuestionError::Neither => f.write_str(
                "this is no question of a desk, and no file of this name is here: a question is 64 hexadecimal digits, or begins with NRD:1:CLEAN:",
            ),
            QuestionError::File(e) => write!(f, "the question’s file: {e}"),
            QuestionError::Photo(e) => write!(f, "{e}"),
            QuestionError::Other => f.write_str("the file holds no question of a desk"),
        }
    }
}

impl std::error::Error for QuestionError {}

impl Challenge {
    /// The question that `given` is, or that the file of this name holds: as text,
    /// or as a picture (PNG or JPEG) of its code. Blocks.
    pub fn given(given: &str, photos: &PhotoReader) -> Result<Challenge, QuestionError> {
        if let Some(challenge) = Challenge::parse(given) {
            return Ok(challenge);
        }
        let file = match read_file(Path::new(given), MAX_FILE as u64) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(QuestionError::Neither),
            Err(e) => return Err(QuestionError::File(e)),
        };
        let text = if is_picture(&file) {
            photos.read_blocking(file).map_err(QuestionError::Photo)?
        } else {
            String::from_utf8(file).map_err(|_| QuestionError::Other)?
        };
        Challenge::parse(&text).ok_or(QuestionError::Other)
    }
}

/// Whether a file is a picture that codes are read from, by its first bytes.
pub fn is_picture(file: &[u8]) -> bool {
    matches!(file, [0xFF, 0xD8, 0xFF, ..] | [0x89, b'P', b'N', b'G', ..])
}

/// Reads a file of at most `max` bytes, whatever it says of its length: a pipe and
/// a device file say 0.
pub fn read_file(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() > max {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(too_large());
    }
    Ok(bytes)
}

fn too_large() -> io::Error {
    io::Error::other("too large for what it should be")
}
