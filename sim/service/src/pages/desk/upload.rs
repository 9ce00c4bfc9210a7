//! Forms with files, bounded by the body's limit.

use super::PageError;
use crate::desk::{ChallengeTextError, parse_answer, read_photo};
use crate::worker::blocking;
use axum::extract::Multipart;

/// What a form brought.
#[derive(Default)]
pub(super) struct Upload {
    /// A pasted answer.
    pub(super) text: Option<String>,
    /// A file: an answer, or a status list.
    pub(super) file: Option<Vec<u8>>,
    /// A picture of a code.
    pub(super) photo: Option<Vec<u8>>,
}

impl Upload {
    /// Reads the form; fields that were left empty are `None`.
    pub(super) async fn read(mut form: Multipart) -> Result<Upload, PageError> {
        let mut upload = Upload::default();
        while let Some(field) = form.next_field().await.map_err(|_| PageError::Upload)? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|_| PageError::Upload)?;
            if bytes.is_empty() {
                continue;
            }
            match name.as_str() {
                "text" => {
                    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                    upload.text = Some(text).filter(|t| !t.is_empty());
                }
                "file" => upload.file = Some(bytes.to_vec()),
                "photo" => upload.photo = Some(bytes.to_vec()),
                // Browsers' add-ons send fields of their own; nothing is read
                // from a field that this page does not have.
                _ => {}
            }
        }
        Ok(upload)
    }

    /// The answer's frame, however it was handed in.
    pub(super) async fn answer(self) -> Result<Vec<u8>, &'static str> {
        let read = match (self.text, self.file, self.photo) {
            (Some(text), ..) => parse_answer(text.as_bytes()),
            (_, Some(file), _) => parse_answer(&file),
            (.., Some(photo)) => {
                let text = blocking(move || Ok(read_photo(&photo))).await;
                // A decoder that fails on a picture has read no code: the clerk
                // takes another photo.
                let text = text.unwrap_or_else(|e| {
                    tracing::error!(error = %e, "a photo was not decoded");
                    Err(ChallengeTextError::NoCode)
                });
                text.and_then(|t| parse_answer(t.as_bytes()))
            }
            (None, None, None) => {
                return Err(
                    "Paste the device’s answer, or choose its file or a photo of its code.",
                );
            }
        };
        read.map_err(ChallengeTextError::text)
    }
}
