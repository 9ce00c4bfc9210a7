//! A picture file (PNG or JPEG) as grey values, within bounds that hold
//! before anything is decoded.

use super::PhotoError;
use png::{BitDepth, ColorType, Transformations};
use std::io::Cursor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Largest picture that is decoded, in pixels: one byte each. Phones take 12
/// million, and more on request only.
pub const MAX_PIXELS: usize = 25_000_000;
/// A progressive JPEG keeps every coefficient until its end, three to six
/// bytes a pixel.
const MAX_PROGRESSIVE: usize = 6_000_000;
/// Scans of a progressive JPEG; each goes over the whole picture.
const MAX_SCANS: usize = 16;

/// Grey values, row by row.
#[derive(Clone)]
pub(super) struct Grey {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

impl Grey {
    /// Decodes `file`.
    pub(super) fn decode(file: &[u8]) -> Result<Grey, PhotoError> {
        match file {
            [0xFF, 0xD8, 0xFF, ..] => jpeg(file),
            [0x89, b'P', b'N', b'G', ..] => png(file),
            _ => Err(PhotoError::NoPicture),
        }
    }

    fn blank(width: usize, height: usize) -> Result<Grey, PhotoError> {
        bounded(width, height, MAX_PIXELS)?;
        Ok(Grey {
            width,
            height,
            pixels: vec![0; width * height],
        })
    }
}

fn bounded(width: usize, height: usize, most: usize) -> Result<(), PhotoError> {
    match width.checked_mul(height) {
        Some(0) => Err(PhotoError::NoPicture),
        Some(n) if n <= most => Ok(()),
        _ => Err(PhotoError::TooManyPixels),
    }
}

fn jpeg(file: &[u8]) -> Result<Grey, PhotoError> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::Luma)
        .jpeg_set_max_scans(MAX_SCANS)
        .set_max_width(MAX_PIXELS)
        .set_max_height(MAX_PIXELS);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder
        .decode_headers()
        .map_err(|_| PhotoError::NoPicture)?;
    let info = decoder.info().ok_or(PhotoError::NoPicture)?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    if is_progressive(file) {
        bounded(width, height, MAX_PROGRESSIVE)?;
    }
    let mut grey = Grey::blank(width, height)?;
    if decoder.output_buffer_size() != Some(grey.pixels.len()) {
        return Err(PhotoError::NoPicture);
    }
    decoder
        .decode_into(&mut grey.pixels)
        .map_err(|_| PhotoError::NoPicture)?;
    Ok(grey)
}

/// The first start-of-frame marker says progressive (SOF2, ITU-T T.81 B.2.2).
fn is_progressive(file: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = file.get(at..at + 4) {
        match marker {
            0xC2 => return true,
            0xC0 | 0xC1 | 0xDA => return false,
            // Padding.
            0xFF => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    // Segments that cannot be followed: take the dearer kind.
    true
}

fn png(file: &[u8]) -> Result<Grey, PhotoError> {
    let no_picture = |_| PhotoError::NoPicture;
    let mut decoder = png::Decoder::new(Cursor::new(file));
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.ignore_checksums(false);
    let mut reader = decoder.read_info().map_err(no_picture)?;
    let info = reader.info();
    let interlaced = info.interlaced;
    let (width, height) = (info.width as usize, info.height as usize);
    let (colour, depth) = reader.output_color_type();
    if depth != BitDepth::Eight {
        return Err(PhotoError::NoPicture);
    }
    if interlaced {
        return Err(PhotoError::Interlaced);
    }
    // Row by row: the colours of the whole picture are never in memory.
    let mut grey = Grey::blank(width, height)?;
    for row in grey.pixels.chunks_exact_mut(width) {
        let given = reader.next_row().map_err(no_picture)?;
        let given = given.ok_or(PhotoError::NoPicture)?;
        to_grey(given.data(), colour, row);
    }
    Ok(grey)
}

fn to_grey(given: &[u8], colour: ColorType, row: &mut [u8]) {
    let samples = colour.samples();
    for (pixel, out) in given.chunks_exact(samples).zip(row) {
        let (value, alpha) = match *pixel {
            [l] => (l, 255),
            [l, a] => (l, a),
            [r, g, b] => (luma(r, g, b), 255),
            [r, g, b, a] => (luma(r, g, b), a),
            _ => (0, 255),
        };
        // What is transparent shows white paper.
        let value = u32::from(value) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
        *out = (value / 255) as u8;
    }
}

/// Weights of ITU-R BT.601, as JPEG has them.
fn luma(r: u8, g: u8, b: u8) -> u8 {
    let sum = 77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b);
    (sum >> 8) as u8
}
