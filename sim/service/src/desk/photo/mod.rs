//! Reads the QR code in a photo.
//!
//! ```text
//!   page ──▶ PhotoReader ──stdin──▶ `nrd-sim read-photo` ──stdout──▶ text
//!            a few at a time        limits on memory and time;
//!            a short queue          killed when it takes too long
//! ```
//!
//! A picture comes from a stranger, and decoders are where pictures hurt. So
//! a picture is decoded in a process of its own, which can be killed, and
//! which has no more memory, time and files than a photo needs.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`read_photo`], what can go wrong |
//! | `reader.rs` | [`PhotoReader`]: the page's side |
//! | `helper.rs` | the process's side |
//! | `picture.rs` | a file as grey values |
//! | `find.rs` | the code in them |

mod find;
pub mod helper;
mod picture;
mod reader;

pub use picture::MAX_PIXELS;
pub use reader::PhotoReader;

/// Largest file that is looked at, in bytes.
pub const MAX_FILE: usize = 16 << 20;

/// Why no code was read from a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhotoError {
    /// Neither PNG nor JPEG, or a damaged one.
    NoPicture,
    /// Larger than [`MAX_FILE`].
    TooLarge,
    /// More than [`MAX_PIXELS`].
    TooManyPixels,
    /// A PNG that is stored in passes.
    Interlaced,
    /// No code in it that can be read.
    NoCode,
    /// Reading it took more time or memory than any photo needs.
    TooMuch,
    /// Too many others are being read.
    Busy,
    /// This desk has nothing to read photos with.
    NotHere,
}

impl PhotoError {
    /// What it means and what to do.
    pub fn text(self) -> &'static str {
        match self {
            PhotoError::NoPicture => {
                "This is no picture that can be read. Use a PNG or JPEG as the camera made it."
            }
            PhotoError::TooLarge => {
                "This picture is larger than 16 MB. Take the photo in the camera’s ordinary size."
            }
            PhotoError::TooManyPixels => {
                "This picture has more pixels than a photo needs. Take it in the camera’s ordinary size, 12 megapixels or fewer."
            }
            PhotoError::Interlaced => {
                "This PNG is stored in passes (interlaced). Save it without, or as a JPEG."
            }
            PhotoError::NoCode => {
                "There is no readable code in this picture. Fill the picture with the whole code, hold still, and avoid reflections."
            }
            PhotoError::TooMuch => {
                "Reading this picture took more than a photo needs, and was given up. Take another photo, or paste the answer."
            }
            PhotoError::Busy => {
                "Other photos are being read just now. Hand it in again in a moment."
            }
            PhotoError::NotHere => {
                "This desk cannot read photos. Paste the answer, or choose the file that the device wrote."
            }
        }
    }
}

impl std::fmt::Display for PhotoError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for PhotoError {}

/// The text of the QR code in a photo (PNG or JPEG), decoded in this process.
/// Only a process that can be killed should call it: see [`PhotoReader`].
///
/// # Errors
/// When there is none.
pub fn read_photo(file: &[u8]) -> Result<String, PhotoError> {
    if file.len() > MAX_FILE {
        return Err(PhotoError::TooLarge);
    }
    let grey = picture::Grey::decode(file)?;
    find::find(&grey).ok_or(PhotoError::NoCode)
}

/// What the process answers, in one line.
enum Answer {
    Text(String),
    Failed(PhotoError),
}

/// What a process may say that it found no code for.
const WORDS: [(&str, PhotoError); 5] = [
    ("no-picture", PhotoError::NoPicture),
    ("too-large", PhotoError::TooLarge),
    ("too-many-pixels", PhotoError::TooManyPixels),
    ("interlaced", PhotoError::Interlaced),
    ("no-code", PhotoError::NoCode),
];

impl From<Result<String, PhotoError>> for Answer {
    fn from(read: Result<String, PhotoError>) -> Answer {
        match read {
            Ok(text) => Answer::Text(text),
            Err(e) => Answer::Failed(e),
        }
    }
}

impl Answer {
    fn line(&self) -> String {
        match self {
            Answer::Text(text) => format!("code {text}"),
            Answer::Failed(e) => {
                let word = WORDS.iter().find(|(_, known)| known == e);
                word.map_or("", |w| w.0).to_owned()
            }
        }
    }

    /// A process that was ended has said nothing, or half a line.
    fn parse(line: &str) -> Answer {
        match line.strip_prefix("code ") {
            Some(text) => Answer::Text(text.to_owned()),
            None => {
                let known = WORDS.iter().find(|(word, _)| *word == line);
                Answer::Failed(known.map_or(PhotoError::TooMuch, |w| w.1))
            }
        }
    }

    fn result(self) -> Result<String, PhotoError> {
        match self {
            Answer::Text(text) => Ok(text),
            Answer::Failed(e) => Err(e),
        }
    }
}
