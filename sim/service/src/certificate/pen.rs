//! Text, lines and boxes on a page of a PDF. Lengths are points (1/72 inch),
//! from the upper left corner.

use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};
use ttf_parser::Face;

/// See `assets/fonts/README.md`.
const ROBOTO: &[u8] = include_bytes!("../../assets/fonts/Roboto-Regular.ttf");

/// The letters, and how wide they are.
pub(super) struct Letters {
    font: Font,
    face: Face<'static>,
}

impl Letters {
    /// `None` when the font is damaged, which a test would see.
    pub(super) fn new() -> Option<Letters> {
        Some(Letters {
            font: Font::new(ROBOTO.to_vec().into(), 0)?,
            face: Face::parse(ROBOTO, 0).ok()?,
        })
    }

    /// The first letter of `text` that the font does not have.
    pub(super) fn missing(&self, text: &str) -> Option<char> {
        let mut letters = text.chars();
        letters.find(|c| self.face.glyph_index(*c).is_none())
    }

    fn width(&self, text: &str, size: f32) -> f32 {
        let advance = |c| {
            let glyph = self.face.glyph_index(c)?;
            self.face.glyph_hor_advance(glyph)
        };
        let units: u32 = text.chars().filter_map(advance).map(u32::from).sum();
        units as f32 * size / f32::from(self.face.units_per_em())
    }

    /// `text` in lines of at most `width`; a word that is wider is broken.
    fn lines(&self, text: &str, size: f32, width: f32) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text.split(' ') {
            let longer = if line.is_empty() {
                word.to_owned()
            } else {
                format!("{line} {word}")
            };
            if self.width(&longer, size) <= width {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                if self.width(&line, size) + self.width(c.encode_utf8(&mut [0; 4]), size) > width {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
        lines
    }
}

#[derive(Clone, Copy)]
pub(super) enum Ink {
    Black,
    Grey,
    Green,
    Red,
}

impl Ink {
    fn colour(self) -> rgb::Color {
        match self {
            Ink::Black => rgb::Color::new(0x10, 0x18, 0x20),
            Ink::Grey => rgb::Color::new(0x47, 0x52, 0x5F),
            Ink::Green => rgb::Color::new(0x17, 0x65, 0x3A),
            Ink::Red => rgb::Color::new(0xA3, 0x22, 0x2F),
        }
    }
}

/// Writes on a page.
pub(super) struct Pen<'s, 'p> {
    pub(super) surface: &'s mut Surface<'p>,
    pub(super) letters: &'s Letters,
}

impl Pen<'_, '_> {
    /// One line, `y` its base line; returns where it ends.
    pub(super) fn text(&mut self, x: f32, y: f32, size: f32, ink: Ink, text: &str) -> f32 {
        self.surface.set_fill(Some(fill(ink)));
        self.surface.set_stroke(None);
        let font = self.letters.font.clone();
        let at = Point::from_xy(x, y);
        let direction = TextDirection::LeftToRight;
        self.surface
            .draw_text(at, font, size, text, false, direction);
        x + self.letters.width(text, size)
    }

    /// A paragraph from base line `y` on; returns the base line after it.
    pub(super) fn paragraph(
        &mut self,
        (x, y, width): (f32, f32, f32),
        size: f32,
        ink: Ink,
        text: &str,
    ) -> f32 {
        let mut at = y;
        for line in self.letters.lines(text, size, width) {
            self.text(x, at, size, ink, &line);
            at += size * 1.22;
        }
        at
    }

    /// A thin line to write on, or a thick one under a heading.
    pub(super) fn rule(&mut self, x: f32, y: f32, width: f32, thick: f32) {
        self.filled(&[(x, y, width, thick)], Ink::Grey);
    }

    /// A box to tick, its lower edge at the base line.
    pub(super) fn tick_box(&mut self, x: f32, y: f32, size: f32, ticked: bool) {
        let stroke = Stroke {
            paint: Ink::Black.colour().into(),
            width: 0.7,
            ..Stroke::default()
        };
        self.surface.set_fill(None);
        self.surface.set_stroke(Some(stroke));
        let (right, top) = (x + size, y - size);
        let mut lines = PathBuilder::new();
        if let Some(edge) = Rect::from_ltrb(x, top, right, y) {
            lines.push_rect(edge);
        }
        if ticked {
            lines.move_to(x, y);
            lines.line_to(right, top);
            lines.move_to(x, top);
            lines.line_to(right, y);
        }
        if let Some(path) = lines.finish() {
            self.surface.draw_path(&path);
        }
    }

    /// Filled rectangles: left, top, width, height.
    pub(super) fn filled(&mut self, rectangles: &[(f32, f32, f32, f32)], ink: Ink) {
        self.surface.set_fill(Some(fill(ink)));
        self.surface.set_stroke(None);
        let mut path = PathBuilder::new();
        for (x, y, w, h) in rectangles {
            if let Some(rectangle) = Rect::from_xywh(*x, *y, *w, *h) {
                path.push_rect(rectangle);
            }
        }
        if let Some(path) = path.finish() {
            self.surface.draw_path(&path);
        }
    }

    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        self.letters.width(text, size)
    }
}

fn fill(ink: Ink) -> Fill {
    Fill {
        paint: ink.colour().into(),
        ..Fill::default()
    }
}
