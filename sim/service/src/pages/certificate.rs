//! The certificate of sanitization as a page to print; as PDF where there is
//! no browser to print it with.

use super::errors::PageError;
use crate::certificate::{Certificate, Paper, PdfError};
use crate::desk::qr_svg;
use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// The page.
#[derive(Template)]
#[template(path = "certificate.html")]
pub(super) struct CertificatePage {
    c: Certificate,
    /// The device's statement, to be read from paper.
    qr: String,
    /// The page that it came from.
    back: String,
    /// The site's name and first page.
    site: (&'static str, &'static str),
}

impl CertificatePage {
    /// `back` is the page that it came from.
    pub(super) fn new(c: Certificate, back: String) -> CertificatePage {
        CertificatePage {
            qr: qr_svg(&c.code, "QR code of what the device signed").unwrap_or_default(),
            c,
            site: if back.starts_with("/desk") {
                ("Returns desk", "/desk")
            } else {
                ("Reference account site", "/account")
            },
            back,
        }
    }
}

/// What a link to a PDF says.
#[derive(Deserialize)]
pub(super) struct Wish {
    paper: PaperWord,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum PaperWord {
    A4,
    Letter,
}

/// The PDF, to be saved.
pub(super) fn pdf(c: &Certificate, wish: &Wish) -> Result<Response, PageError> {
    let paper = match wish.paper {
        PaperWord::A4 => Paper::A4,
        PaperWord::Letter => Paper::Letter,
    };
    let file = c.pdf(paper).map_err(|e| match e {
        PdfError::Letter(_) => PageError::Form(
            "The PDF’s font does not have a letter of a name. Print the certificate’s page from the browser instead.",
        ),
        PdfError::TooLong | PdfError::Library(_) => {
            PageError::Service(crate::Error::Internal(e.to_string()))
        }
    })?;
    let headers = [
        (header::CONTENT_TYPE, "application/pdf"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"certificate.pdf\"",
        ),
    ];
    Ok((headers, file).into_response())
}
