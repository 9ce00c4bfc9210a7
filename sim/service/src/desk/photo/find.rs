//! Finds a QR code in grey values.
//!
//! A large photo shows its own noise, a screen its own pixels, and both hide
//! a code from a decoder that looks at single pixels. So the picture is looked
//! at in several sizes, and in each as it is and with a threshold of its own
//! for every place, until one view can be read.

use super::picture::Grey;
use rqrr::PreparedImage;

/// Longest sides of the views, the likeliest first.
const SIZES: [usize; 4] = [1400, 2000, 900, 640];

/// The text of the first code that can be read.
pub(super) fn find(picture: &Grey) -> Option<String> {
    let longest = picture.width.max(picture.height);
    let mut before = 0;
    SIZES.iter().find_map(|size| {
        let size = (*size).min(longest);
        if size == before {
            return None;
        }
        before = size;
        let view = picture.scaled(size);
        Treatment::ALL
            .iter()
            .find_map(|treatment| read(treatment.of(&view)))
    })
}

fn read(view: Grey) -> Option<String> {
    let (width, height) = (view.width, view.height);
    let mut prepared =
        PreparedImage::prepare_from_greyscale(width, height, |x, y| view.pixels[y * width + x]);
    drop(view);
    let grids = prepared.detect_grids();
    grids.iter().find_map(|g| g.decode().ok()).map(|(_, t)| t)
}

/// What is done to a view before it is read.
#[derive(Clone, Copy)]
enum Treatment {
    AsItIs,
    /// Black or white by the mean around each pixel; the part is how wide
    /// "around" is, as a share of the view's longest side.
    Threshold {
        part: usize,
    },
    /// Softened, then a threshold.
    Soft {
        radius: usize,
        part: usize,
    },
    /// What differs from its surroundings made to differ more, against a lens
    /// out of focus, then a threshold.
    Sharp {
        radius: usize,
        part: usize,
    },
}

impl Treatment {
    const ALL: [Treatment; 5] = [
        Treatment::AsItIs,
        Treatment::Threshold { part: 24 },
        Treatment::Soft {
            radius: 1,
            part: 24,
        },
        Treatment::Sharp {
            radius: 4,
            part: 24,
        },
        Treatment::Threshold { part: 60 },
    ];

    fn of(self, view: &Grey) -> Grey {
        let side = view.width.max(view.height);
        match self {
            Treatment::AsItIs => view.clone(),
            Treatment::Threshold { part } => view.threshold(side / part),
            Treatment::Soft { radius, part } => view.softened(radius).threshold(side / part),
            Treatment::Sharp { radius, part } => view.sharpened(radius).threshold(side / part),
        }
    }
}

impl Grey {
    /// A smaller copy whose longest side is `size`: each pixel is the mean of
    /// those that it stands for.
    fn scaled(&self, size: usize) -> Grey {
        let longest = self.width.max(self.height).max(1);
        if size >= longest {
            return self.clone();
        }
        let side = |s: usize| (s * size / longest).max(1);
        let (width, height) = (side(self.width), side(self.height));
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let rows = span(y, height, self.height);
            for x in 0..width {
                let columns = span(x, width, self.width);
                let mut sum = 0;
                for row in rows.clone() {
                    let row = &self.pixels[row * self.width..][columns.clone()];
                    sum += row.iter().map(|p| u32::from(*p)).sum::<u32>();
                }
                let n = (rows.len() * columns.len()) as u32;
                pixels.push((sum / n.max(1)) as u8);
            }
        }
        Grey {
            width,
            height,
            pixels,
        }
    }

    fn softened(&self, radius: usize) -> Grey {
        let means = Means::of(self);
        let pixel = |x, y| means.around(x, y, radius) as u8;
        self.with(pixel)
    }

    fn sharpened(&self, radius: usize) -> Grey {
        let means = Means::of(self);
        self.with(|x, y| {
            let here = i32::from(self.pixels[y * self.width + x]);
            let around = means.around(x, y, radius) as i32;
            (here + 3 * (here - around)).clamp(0, 255) as u8
        })
    }

    fn threshold(&self, radius: usize) -> Grey {
        let means = Means::of(self);
        self.with(|x, y| {
            let here = u32::from(self.pixels[y * self.width + x]);
            // Paper and screens have noise: what hardly differs is light.
            if here * 100 < means.around(x, y, radius.max(2)) * 96 {
                0
            } else {
                255
            }
        })
    }

    fn with(&self, pixel: impl Fn(usize, usize) -> u8) -> Grey {
        let pixel = &pixel;
        let rows = (0..self.height).flat_map(|y| (0..self.width).map(move |x| pixel(x, y)));
        Grey {
            width: self.width,
            height: self.height,
            pixels: rows.collect(),
        }
    }
}

/// The pixels of a side of `from` that pixel `at` of a side of `to` stands for.
fn span(at: usize, to: usize, from: usize) -> std::ops::Range<usize> {
    let begin = at * from / to;
    begin..((at + 1) * from / to).max(begin + 1)
}

/// Sums over rectangles (a summed-area table).
struct Means {
    width: usize,
    height: usize,
    sums: Vec<u32>,
}

impl Means {
    fn of(view: &Grey) -> Means {
        let (width, height) = (view.width, view.height);
        let mut sums = vec![0_u32; (width + 1) * (height + 1)];
        for y in 0..height {
            let mut row = 0;
            for x in 0..width {
                row += u32::from(view.pixels[y * width + x]);
                sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
            }
        }
        Means {
            width,
            height,
            sums,
        }
    }

    /// Mean of the square around a pixel, cut off at the edges.
    fn around(&self, x: usize, y: usize, radius: usize) -> u32 {
        let (left, top) = (x.saturating_sub(radius), y.saturating_sub(radius));
        let right = (x + radius + 1).min(self.width);
        let bottom = (y + radius + 1).min(self.height);
        let at = |x, y| self.sums[y * (self.width + 1) + x];
        // Never overflows: a view has at most 2000² pixels of 255.
        let sum = at(right, bottom) + at(left, top) - at(right, top) - at(left, bottom);
        sum / ((right - left) * (bottom - top)).max(1) as u32
    }
}
