//! The certificate as a PDF of one page.

use super::pen::{Ink, Letters, Pen};
use super::{Certificate, Choice, Field};
use crate::desk::qr_modules;
use krilla::Document;
use krilla::metadata::Metadata;
use krilla::page::PageSettings;

/// The sheet that it is printed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// ISO 216, 210 by 297 mm.
    A4,
    /// 8½ by 11 inches.
    Letter,
}

impl Paper {
    /// Width and height, in points.
    fn size(self) -> (f32, f32) {
        match self {
            Paper::A4 => (595.28, 841.89),
            Paper::Letter => (612.0, 792.0),
        }
    }
}

/// Why there is no PDF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PdfError {
    /// The font does not have this letter.
    Letter(char),
    /// The text does not fit one page.
    TooLong,
    /// The library failed; says how.
    Library(String),
}

impl std::fmt::Display for PdfError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PdfError::Letter(c) => write!(
                f,
                "the certificate’s font has no {c:?}: print the certificate from the browser, or leave the name to be filled in by hand"
            ),
            PdfError::TooLong => f.write_str("the certificate does not fit one page"),
            PdfError::Library(e) => write!(f, "no PDF could be made: {e}"),
        }
    }
}

impl std::error::Error for PdfError {}

/// Margin, in points.
const MARGIN: f32 = 36.0;
/// The code's side with its quiet zone: more than half a millimetre a module.
const CODE: f32 = 128.0;
/// Size of the text.
const TEXT: f32 = 8.5;
/// Size of what is small.
const SMALL: f32 = 7.2;

impl Certificate {
    /// The certificate as a PDF of one page.
    ///
    /// # Errors
    /// When a name has letters that the font has not.
    pub fn pdf(&self, paper: Paper) -> Result<Vec<u8>, PdfError> {
        let library = || PdfError::Library("its font".to_owned());
        let letters = Letters::new().ok_or_else(library)?;
        let values = self.fields().filter_map(|f| f.value.as_deref());
        if let Some(c) = values.filter_map(|v| letters.missing(v)).next() {
            return Err(PdfError::Letter(c));
        }
        let (width, height) = paper.size();
        let mut document = Document::new();
        document.set_metadata(
            Metadata::new()
                .title("Certificate of sanitization".to_owned())
                .language("en".to_owned()),
        );
        let settings = PageSettings::from_wh(width, height).ok_or_else(library)?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        let mut sheet = Sheet {
            pen: Pen {
                surface: &mut surface,
                letters: &letters,
            },
            width: width - 2.0 * MARGIN,
            y: MARGIN,
        };
        sheet.write(self);
        let end = sheet.y;
        surface.finish();
        page.finish();
        if end > height - MARGIN + TEXT {
            return Err(PdfError::TooLong);
        }
        document
            .finish()
            .map_err(|e| PdfError::Library(format!("{e:?}")))
    }
}

struct Sheet<'s, 'p> {
    pen: Pen<'s, 'p>,
    /// Between the margins.
    width: f32,
    /// The next base line, more or less.
    y: f32,
}

impl Sheet<'_, '_> {
    fn write(&mut self, c: &Certificate) {
        let beside = self.width - CODE - 10.0;
        let top = self.y;
        self.code(&c.code, MARGIN + self.width - CODE, top);
        self.y += 14.0;
        let title = "Certificate of sanitization";
        self.pen.text(MARGIN, self.y, 17.0, Ink::Black, title);
        self.y += 13.0;
        if !c.proven {
            let text =
                "This is no certificate. What the device signed does not show that it is clean.";
            self.y = self
                .pen
                .paragraph((MARGIN, self.y, beside), 10.0, Ink::Red, text);
        }
        let about = "Fields after NIST SP 800-88 Rev. 2. What is marked “signed” is covered by the device’s own signature, under a key that its maker certified; it was verified when this page was made. The code is that signed statement: nrd-sim verify reads it from a photo of this page.";
        self.y = self
            .pen
            .paragraph((MARGIN, self.y, beside), SMALL, Ink::Grey, about);
        self.heading("Device and storage", beside);
        for field in &c.media {
            self.field(field, MARGIN, beside, 128.0);
        }
        self.y = self.y.max(top + CODE + 4.0);
        self.heading("Sanitization", self.width);
        for choice in &c.choices {
            self.choice(choice);
        }
        for field in &c.details {
            self.field(field, MARGIN, self.width, 128.0);
        }
        self.choice(&c.destination);
        self.people(c);
        self.heading(c.validation.name, self.width);
        for (words, ticked) in &c.validation.options {
            self.y += 11.0;
            self.boxed(MARGIN, words, *ticked);
        }
        self.y += 4.0;
        self.heading("What the signature cannot show", self.width);
        self.y += SMALL + 2.0;
        for limit in &c.limits {
            self.pen.text(MARGIN, self.y, SMALL, Ink::Grey, "–");
            let column = (MARGIN + 8.0, self.y, self.width - 8.0);
            self.y = self.pen.paragraph(column, SMALL, Ink::Grey, limit);
        }
        self.y += 4.0;
        let foot = format!(
            "I attest that what I have filled in is accurate to the best of my knowledge. Digest of the device’s statement: {}. Made {}.",
            c.digest, c.printed
        );
        let column = (MARGIN, self.y, self.width);
        self.y = self.pen.paragraph(column, SMALL, Ink::Black, &foot);
    }

    fn heading(&mut self, text: &str, width: f32) {
        self.y += 19.0;
        self.pen.text(MARGIN, self.y, 10.0, Ink::Black, text);
        self.y += 3.0;
        self.pen.rule(MARGIN, self.y, width, 1.0);
        self.y += 1.0;
    }

    fn field(&mut self, field: &Field, x: f32, width: f32, names: f32) {
        self.y += 14.0;
        self.pen.text(x, self.y, TEXT, Ink::Grey, field.name);
        let (left, width) = (x + names, width - names);
        match &field.value {
            None => self.pen.rule(left, self.y + 2.0, width, 0.5),
            Some(value) => {
                let mark = self.pen.width("signed", 6.0) + 6.0;
                let value: String = value.chars().filter(|c| !c.is_control()).collect();
                // The digits of a nonce fill a line.
                let size = if value.len() > 60 && field.code {
                    SMALL
                } else {
                    TEXT
                };
                let column = (left, self.y, width - mark);
                let after = self.pen.paragraph(column, size, Ink::Black, &value);
                if field.signed {
                    let x = left + width - mark + 4.0;
                    self.pen.text(x, self.y, 6.0, Ink::Green, "signed");
                }
                self.y = after - size * 1.22;
            }
        }
    }

    fn choice(&mut self, choice: &Choice) {
        self.y += 14.0;
        self.pen.text(MARGIN, self.y, TEXT, Ink::Grey, choice.name);
        let mut x = MARGIN + 128.0;
        for (words, ticked) in &choice.options {
            x = self.boxed(x, words, *ticked) + 9.0;
        }
        let right = MARGIN + self.width;
        if choice.options.last().is_some_and(|(w, _)| w.ends_with(':')) {
            let end = right - if choice.signed { 26.0 } else { 0.0 };
            self.pen.rule(x - 6.0, self.y + 2.0, end - x + 6.0, 0.5);
        }
        if choice.signed {
            let x = right - self.pen.width("signed", 6.0) - 2.0;
            self.pen.text(x, self.y, 6.0, Ink::Green, "signed");
        }
    }

    /// A box and its words; returns where they end.
    fn boxed(&mut self, x: f32, words: &str, ticked: bool) -> f32 {
        self.pen.tick_box(x, self.y, 7.0, ticked);
        self.pen.text(x + 10.5, self.y, TEXT, Ink::Black, words)
    }

    /// Who sanitized and who validated, side by side.
    fn people(&mut self, c: &Certificate) {
        let gap = 18.0;
        let column = (self.width - gap) / 2.0;
        let top = self.y + 19.0;
        let mut end = top;
        for (n, (role, fields)) in c.people.iter().enumerate() {
            let x = MARGIN + n as f32 * (column + gap);
            self.y = top;
            self.pen.text(x, self.y, 10.0, Ink::Black, role);
            self.y += 3.0;
            self.pen.rule(x, self.y, column, 1.0);
            for field in fields {
                // Room for a pen.
                self.y += if field.name == "Signature" { 10.0 } else { 3.0 };
                self.field(field, x, column, 62.0);
            }
            end = end.max(self.y);
        }
        self.y = end + 2.0;
    }

    fn code(&mut self, text: &str, left: f32, top: f32) {
        const QUIET: usize = 4;
        let Some((side, dark)) = qr_modules(text) else {
            return;
        };
        let module = CODE / (side + 2 * QUIET) as f32;
        let squares: Vec<_> = dark
            .iter()
            .map(|run| {
                let at = |n: usize| (n + QUIET) as f32 * module;
                let (x, y) = (left + at(run.x), top + at(run.y));
                (x, y, run.length as f32 * module, module)
            })
            .collect();
        self.pen.filled(&squares, Ink::Black);
    }
}
