//! Tries every key at every offset, and looks for plain text.

use super::keys::{Ring, VAULT};
use super::{JOURNAL, class_name};
use memchr::memmem;
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;

/// A record that opened.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Opened {
    /// Where its header begins.
    pub offset: u32,
    /// Its class, in words.
    pub class: &'static str,
    /// Its id.
    pub id: u16,
    /// Its sequence number.
    pub seq: u32,
    /// Bytes of the value that could be read.
    pub length: usize,
    /// It is a delete marker.
    pub deletes: bool,
}

/// A secret found in plain or in a simple encoding.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Hit {
    /// Which of the secrets, from 0. Its text is not repeated.
    pub secret: usize,
    /// Where.
    pub offset: usize,
    /// How it was encoded.
    pub encoding: &'static str,
}

const HEADER: usize = 12;
const NONCE: usize = 8;
const TAG: usize = 16;
const MAX_VALUE: usize = 4096;
/// Bytes of the header under its check bits.
const CHECKED: usize = 10;

/// What is erased is passed over in chunks of so many bytes.
const CHUNK: usize = 64;

/// Where the cells hold anything: chunks that are not blank, with the blank one
/// on each side. What has no [`CHUNK`] blank bytes in a row, and is not blank
/// itself, stands in one of these or nowhere.
fn written(cells: &[u8]) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for (n, chunk) in cells.chunks(CHUNK).enumerate() {
        if chunk == &[0xFF; CHUNK][..chunk.len()] {
            continue;
        }
        let from = n.saturating_sub(1) * CHUNK;
        let to = cells.len().min((n + 2) * CHUNK);
        match pieces.last_mut() {
            Some(last) if last.end >= from => last.end = to,
            _ => pieces.push(from..to),
        }
    }
    pieces
}

/// The check bits (CRC-16/IBM-3740, SPEC §5) of every run of [`CHECKED`] bytes,
/// each from the one before: a CRC is linear, so the byte that leaves is taken
/// out and the one that comes is put in.
struct Rolling {
    /// What a byte comes to, with none and with [`CHECKED`] more behind it.
    enters: [u16; 256],
    leaves: [u16; 256],
    /// Of [`CHECKED`] zeros: what the initial value makes of them.
    base: u16,
}

impl Rolling {
    fn new() -> Rolling {
        // The same polynomial without an initial value.
        let linear = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);
        let after = |byte: usize, zeros: usize| {
            let mut run = [0; CHECKED + 1];
            run[0] = byte as u8;
            linear.checksum(&run[..1 + zeros])
        };
        Rolling {
            enters: std::array::from_fn(|b| after(b, 0)),
            leaves: std::array::from_fn(|b| after(b, CHECKED)),
            base: crc::Crc::<u16>::new(&crc::CRC_16_IBM_3740).checksum(&[0; CHECKED]),
        }
    }

    /// The linear part, with `byte` in and `old` out.
    fn step(&self, linear: u16, byte: u8, old: u8) -> u16 {
        let top = usize::from(linear.to_be_bytes()[0] ^ byte);
        (linear << 8) ^ self.enters[top] ^ self.leaves[usize::from(old)]
    }
}

/// Tries each key wherever a record might begin; counts the trials.
pub(super) fn open_everywhere(
    cells: &[u8],
    ring: &Ring,
    deep: bool,
    trials: &mut u64,
) -> Vec<Opened> {
    let mut found = Vec::new();
    let mut text = vec![0u8; MAX_VALUE];
    let rolling = Rolling::new();
    let last = cells.len().saturating_sub(HEADER + NONCE + TAG - 1);
    let (mut linear, mut seen, mut began) = (0, 0, 0);
    for offset in written(cells)
        .into_iter()
        .flatten()
        .take_while(|at| *at < last)
    {
        if offset > seen {
            // Another piece: the check bits begin anew.
            (linear, seen, began) = (0, offset, offset);
        }
        let header: &[u8; HEADER] = match cells[offset..].first_chunk() {
            Some(h) => h,
            None => break,
        };
        while seen < offset + CHECKED {
            let old = if seen - began < CHECKED {
                0
            } else {
                cells[seen - CHECKED]
            };
            linear = rolling.step(linear, cells[seen], old);
            seen += 1;
        }
        if header == &[0xFF; HEADER] {
            continue;
        }
        let word = u16::from_le_bytes([header[0], header[1]]);
        let class = (word >> 13) as u8;
        let deletes = word & 0x1FFF == 0x1FFF;
        let length = if deletes {
            0
        } else {
            usize::from(word & 0x1FFF)
        };
        let check = u16::from_le_bytes([header[10], header[11]]);
        let plausible = linear ^ rolling.base == check;
        if !(plausible || deep) || length > MAX_VALUE {
            continue;
        }
        let body = offset + HEADER;
        let Some(sealed) = cells.get(body..body + NONCE + length + TAG) else {
            continue;
        };
        if deep && !plausible && sealed.iter().all(|&b| b == sealed[0]) {
            // Blank or zeroed cells: no tag is the repetition of one byte but
            // with a chance of 2⁻¹²⁰.
            continue;
        }
        for k in &ring.records {
            *trials += 1;
            let text = &mut text[..length];
            text.copy_from_slice(&sealed[NONCE..NONCE + length]);
            if !opens(k.region, k.epoch, &k.key, header, sealed, text) {
                continue;
            }
            // Values of the vault but the session begin with four bytes of time.
            let vault = k.region == VAULT;
            let own = if vault && class != 0 {
                length.saturating_sub(4)
            } else {
                length
            };
            found.push(Opened {
                offset: offset as u32,
                class: if vault { class_name(class) } else { JOURNAL },
                id: u16::from_le_bytes([header[2], header[3]]),
                seq: u32::from_le_bytes([header[6], header[7], header[8], header[9]]),
                length: own,
                deletes,
            });
            break;
        }
    }
    found
}

fn opens(
    region: u8,
    epoch: u64,
    key: &[u8; 32],
    header: &[u8; HEADER],
    sealed: &[u8],
    text: &mut [u8],
) -> bool {
    let mut aad = vec![region];
    aad.extend_from_slice(&epoch.to_le_bytes());
    aad.extend_from_slice(header);
    let Some(tag) = sealed.last_chunk() else {
        return false;
    };
    // The sequence number, then what is stored.
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&header[6..10]);
    nonce[4..].copy_from_slice(&sealed[..NONCE]);
    RingCrypto::open(key, &nonce, &aad, text, tag).is_ok()
}

/// A text that must not stand in an image, and all that it is looked for as.
#[derive(Clone)]
pub struct Secret(Arc<Searched>);

struct Searched {
    text: Vec<u8>,
    as_written: Vec<(&'static str, memmem::Finder<'static>)>,
}

/// True when a text may stand partly in erased cells.
fn looks_erased(text: &[u8]) -> bool {
    let blank = |run: &[u8]| run.iter().all(|&b| b == 0xFF);
    blank(text) || text.windows(CHUNK).any(blank)
}

impl Secret {
    /// A secret; an empty one is never found.
    pub fn new(text: impl Into<Vec<u8>>) -> Secret {
        let text = text.into();
        let written = if text.is_empty() {
            Vec::new()
        } else {
            encodings(&text)
        };
        let finders = written
            .into_iter()
            .map(|(name, needle)| (name, memmem::Finder::new(&needle).into_owned()));
        Secret(Arc::new(Searched {
            as_written: finders.collect(),
            text,
        }))
    }

    /// What was given.
    pub fn text(&self) -> &[u8] {
        &self.0.text
    }
}

/// Looks for every secret in plain and in simple encodings.
pub(super) fn plaintext(cells: &[u8], secrets: &[Secret]) -> Vec<Hit> {
    let mut hits = Vec::new();
    let pieces = written(cells);
    let whole = vec![Range {
        start: 0,
        end: cells.len(),
    }];
    for (secret, looked_for) in secrets.iter().enumerate() {
        for (encoding, needle) in &looked_for.0.as_written {
            let within = if looks_erased(needle.needle()) {
                &whole
            } else {
                &pieces
            };
            for piece in within {
                let found = needle.find_iter(&cells[piece.clone()]);
                hits.extend(found.map(|at| Hit {
                    secret,
                    offset: piece.start + at,
                    encoding,
                }));
            }
        }
    }
    hits
}

/// A text as careless software might have written it.
fn encodings(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let wide = |le: bool| -> Vec<u8> {
        let units = String::from_utf8_lossy(text).into_owned();
        let bytes = move |u: u16| if le { u.to_le_bytes() } else { u.to_be_bytes() };
        units.encode_utf16().flat_map(bytes).collect()
    };
    let hex = nrd_sim_base::hex(text).into_bytes();
    let mut out = vec![
        ("plain", text.to_vec()),
        ("hexadecimal", hex.clone()),
        ("hexadecimal, capitals", hex.to_ascii_uppercase()),
        ("UTF-16, little-endian", wide(true)),
        ("UTF-16, big-endian", wide(false)),
        ("reversed", text.iter().rev().copied().collect()),
        ("inverted", text.iter().map(|b| !b).collect()),
    ];
    // Base64 says the same text in three ways, by where it begins.
    for shift in 0..3 {
        let mut padded = vec![0; shift];
        padded.extend_from_slice(text);
        let code = base64(&padded);
        // Letters that depend on what stands before or after are left out.
        let from = (shift * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        if to > from + 6 {
            out.push(("base64", code[from..to].to_vec()));
        }
    }
    out
}

/// Base64 without padding (RFC 4648 §4): what is searched for, never decoded.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |i: usize| bytes.get(i / 8).is_some_and(|b| b >> (7 - i % 8) & 1 == 1);
    (0..(bytes.len() * 8).div_ceil(6))
        .map(|n| {
            let index = (0..6).fold(0, |v, i| v << 1 | usize::from(bit(n * 6 + i)));
            LETTERS[index]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_sim_hw::SplitMix;

    #[test]
    fn rolling_check_bits_are_those_of_each_run() {
        let mut draw = SplitMix(31);
        let cells: Vec<u8> = (0..600).map(|_| draw.draw() as u8).collect();
        let check = crc::Crc::<u16>::new(&crc::CRC_16_IBM_3740);
        let rolling = Rolling::new();
        let mut linear = 0;
        for (at, byte) in cells.iter().enumerate() {
            let from = at.checked_sub(CHECKED);
            linear = rolling.step(linear, *byte, from.map_or(0, |at| cells[at]));
            if let Some(run) = cells[..=at].last_chunk::<CHECKED>() {
                assert_eq!(linear ^ rolling.base, check.checksum(run), "up to {at}");
            }
        }
    }

    #[test]
    fn what_stands_between_erased_cells_is_found_wherever_it_stands() {
        let mut draw = SplitMix(32);
        let texts: [&[u8]; 5] = [
            b"an account value",
            &[0x5A, 0xFF, 0xFF, 0xFF, 0x5A],
            // Its ends look erased.
            &[0xFF, 0xFF, 0xFF, 0x5A, 0x11, 0xFF, 0xFF],
            &[0; 9],
            &[0xA5; 3 * CHUNK],
        ];
        let secrets = texts.map(Secret::new);
        for _ in 0..400 {
            let mut cells = vec![0xFF; 40 * CHUNK];
            for text in texts {
                let at = draw.below((cells.len() - text.len()) as u64) as usize;
                cells[at..at + text.len()].copy_from_slice(text);
            }
            let mut everywhere = Vec::new();
            for (secret, looked_for) in secrets.iter().enumerate() {
                for (encoding, needle) in &looked_for.0.as_written {
                    everywhere.extend(needle.find_iter(&cells).map(|offset| Hit {
                        secret,
                        offset,
                        encoding,
                    }));
                }
            }
            assert!(everywhere.iter().any(|hit| hit.encoding == "inverted"));
            assert_eq!(plaintext(&cells, &secrets), everywhere);
        }
    }
}
