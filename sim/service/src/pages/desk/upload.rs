//! Forms with files. What strangers may make this program hold is bounded:
//! the body's limit for one form, and a number of forms at a time.

use super::{DeskState, PageError};
use crate::desk::photo::{PhotoError, PhotoReader};
use crate::desk::{ChallengeTextError, Handed, parse_handed};
use axum::extract::Multipart;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Forms that are read at once; with the largest upload they are what the
/// desk holds of strangers' bytes at most.
const FORMS: usize = 12;
/// How long a form may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Forms with many files that are read at once: one holds as much as some of the
/// others together.
const BUNDLES: usize = 1;

/// Admits forms with files.
#[derive(Clone)]
pub struct Uploads {
    forms: Arc<Semaphore>,
    bundles: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Uploads {
        Uploads {
            forms: Arc::new(Semaphore::new(FORMS)),
            bundles: Arc::new(Semaphore::new(BUNDLES)),
        }
    }
}

/// What a form with many files brought.
pub(super) struct Bundle {
    /// Names and bytes; pasted lines among them.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Files beyond those that one form may bring: not read.
    pub(super) left: usize,
    /// Held until its bytes are gone.
    pub(super) admitted: OwnedSemaphorePermit,
}

impl Bundle {
    /// Reads the form, at most `most` files of it.
    pub(super) async fn read(
        form: Multipart,
        state: &DeskState,
        most: usize,
    ) -> Result<Bundle, PageError> {
        let admitted = state.uploads.bundles.clone().try_acquire_owned();
        let mut bundle = Bundle {
            files: Vec::new(),
            left: 0,
            admitted: admitted.map_err(|_| PageError::UploadsBusy)?,
        };
        let arrived = tokio::time::timeout(PATIENCE, bundle.fields(form, most)).await;
        arrived.map_err(|_| PageError::Upload)??;
        Ok(bundle)
    }

    async fn fields(&mut self, mut form: Multipart, most: usize) -> Result<(), PageError> {
        while let Some(field) = form.next_field().await.map_err(|_| PageError::Upload)? {
            let name = match field.name() {
                Some("files") => field.file_name().unwrap_or("a file").to_owned(),
                Some("text") => "pasted".to_owned(),
                _ => continue,
            };
            let bytes = field.bytes().await.map_err(|_| PageError::Upload)?;
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            if self.files.len() < most {
                self.files.push((name, bytes.to_vec()));
            } else {
                self.left += 1;
            }
        }
        Ok(())
    }
}

/// What a form brought.
pub(super) struct Upload {
    /// A pasted answer.
    pub(super) text: Option<String>,
    /// A file: an answer, or a status list.
    pub(super) file: Option<Vec<u8>>,
    /// A picture of a code.
    pub(super) photo: Option<Vec<u8>>,
    /// Held until its bytes are gone.
    _admitted: OwnedSemaphorePermit,
}

impl Upload {
    /// Reads the form; fields that were left empty are `None`.
    pub(super) async fn read(form: Multipart, state: &DeskState) -> Result<Upload, PageError> {
        let admitted = state.uploads.forms.clone().try_acquire_owned();
        let admitted = admitted.map_err(|_| PageError::UploadsBusy)?;
        let mut upload = Upload {
            text: None,
            file: None,
            photo: None,
            _admitted: admitted,
        };
        let arrived = tokio::time::timeout(PATIENCE, upload.fields(form)).await;
        arrived.map_err(|_| PageError::Upload)??;
        Ok(upload)
    }

    async fn fields(&mut self, mut form: Multipart) -> Result<(), PageError> {
        while let Some(field) = form.next_field().await.map_err(|_| PageError::Upload)? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|_| PageError::Upload)?;
            if bytes.is_empty() {
                continue;
            }
            match name.as_str() {
                "text" => {
                    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                    self.text = Some(text).filter(|t| !t.is_empty());
                }
                "file" => self.file = Some(bytes.to_vec()),
                "photo" => self.photo = Some(bytes.to_vec()),
                // Browsers' add-ons send fields of their own; nothing is read
                // from a field that this page does not have.
                _ => {}
            }
        }
        Ok(())
    }

    /// The answer, or what the device says in its place, however it was handed in.
    pub(super) async fn answer(self, photos: &PhotoReader) -> Result<Handed, &'static str> {
        let read = match (self.text, self.file, self.photo) {
            (Some(text), ..) => parse_handed(text.as_bytes()),
            (_, Some(file), _) => parse_handed(&file),
            (.., Some(photo)) => {
                let text = photos.read(photo).await.map_err(PhotoError::text)?;
                parse_handed(text.as_bytes())
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
