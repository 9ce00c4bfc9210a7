//! Made photographs of a device's code, as a clerk's phone takes them: the
//! plane of a screen or a sheet, a camera, its lens, sensor and JPEG. A kind
//! and a seed make the same picture everywhere, so the set is kept as numbers.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use nrd_sim::service::desk::answer_text;
use qrcode::{Color, EcLevel, QrCode};

/// What makes a photo hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sharp,
    Blur,
    Motion,
    Perspective,
    Rotation,
    Glare,
    Noise,
    Moire,
    LowLight,
    Far,
    Paper,
    Mixed,
}

impl Kind {
    pub(crate) const ALL: [Kind; 12] = [
        Kind::Sharp,
        Kind::Blur,
        Kind::Motion,
        Kind::Perspective,
        Kind::Rotation,
        Kind::Glare,
        Kind::Noise,
        Kind::Moire,
        Kind::LowLight,
        Kind::Far,
        Kind::Paper,
        Kind::Mixed,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Sharp => "sharp, straight on",
            Kind::Blur => "out of focus, 0.2 to 0.5 of a module",
            Kind::Motion => "moved by 0.3 to 1.0 of a module",
            Kind::Perspective => "from the side, 20° to 45°",
            Kind::Rotation => "turned by any angle",
            Kind::Glare => "a lamp mirrored on the glass",
            Kind::Noise => "sensor noise of 12 to 35 grey values",
            Kind::Moire => "a screen's pixels seen by the sensor",
            Kind::LowLight => "dark room: a fifth of the contrast, noise",
            Kind::Far => "code a quarter to a sixth of the picture",
            Kind::Paper => "printed, shaded, ink that ran",
            Kind::Mixed => "a little of everything",
        }
    }
}

/// A photo and what its code says.
pub(crate) struct Photo {
    pub(crate) jpeg: Vec<u8>,
    pub(crate) text: String,
}

/// Everything that is chosen by the seed.
struct Scene {
    /// Modules a side, and which are dark.
    n: usize,
    dark: Vec<bool>,
    /// Grey of ink and ground, 0 to 1.
    ink: f64,
    ground: f64,
    /// Pixels of the screen in a module; 0 for paper.
    dots: f64,
    /// How strong the dark lines between them are.
    lines: f64,
    /// How far ink ran, in modules.
    ran: f64,
}

struct Camera {
    width: usize,
    height: usize,
    /// Pixels of the photo in a module, in its middle.
    scale: f64,
    yaw: f64,
    pitch: f64,
    roll: f64,
    /// Where the code's middle lies, as a share of the photo.
    off: (f64, f64),
}

/// What lens, light and sensor do.
#[derive(Default)]
struct Lens {
    /// In pixels.
    blur: f64,
    motion: (usize, usize),
    /// How much light comes: factor, falling off to one side, and haze.
    gain: f64,
    falloff: f64,
    haze: f64,
    /// Middle, width (shares of the photo), strength.
    glare: Option<(f64, f64, f64, f64)>,
    noise: f64,
    quality: u8,
}

/// SplitMix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn either(&mut self, size: f64) -> f64 {
        self.between(-size, size)
    }

    /// A side, and at least `low` to it.
    fn tilt(&mut self, low: f64, high: f64) -> f64 {
        let size = self.between(low, high);
        if self.next() & 1 == 0 { size } else { -size }
    }
}

/// The photo of this kind and seed, `width` pixels wide.
pub(crate) fn make(kind: Kind, seed: u64, width: usize) -> Photo {
    let mut d = Dice::new(seed ^ ((kind as u64 + 1) << 40));
    let frame: Vec<u8> = (0..288).map(|_| d.next() as u8).collect();
    let text = answer_text(&frame);
    let code = QrCode::with_error_correction_level(&text, EcLevel::M).unwrap();
    let n = code.width();
    let dark = code.to_colors().iter().map(|c| *c == Color::Dark).collect();
    let mut scene = Scene {
        n,
        dark,
        ink: d.between(0.03, 0.10),
        ground: d.between(0.80, 0.95),
        dots: 0.0,
        lines: 0.0,
        ran: 0.0,
    };
    let height = width * 3 / 4;
    // The code takes this share of the photo's height.
    let share = d.between(0.45, 0.75);
    let mut camera = Camera {
        width,
        height,
        scale: share * height as f64 / (n as f64 + 8.0),
        yaw: d.either(4.0),
        pitch: d.either(4.0),
        roll: d.either(4.0),
        off: (d.either(0.06), d.either(0.06)),
    };
    let mut lens = Lens {
        blur: 0.05 * camera.scale,
        gain: d.between(0.85, 1.0),
        noise: d.between(1.0, 4.0),
        quality: d.between(75.0, 92.0) as u8,
        ..Lens::default()
    };
    trouble(kind, &mut d, &mut scene, &mut camera, &mut lens);
    let light = expose(&scene, &camera, &lens, &mut d);
    let jpeg = develop(&light, &camera, lens.quality, &mut d);
    Photo { jpeg, text }
}

fn trouble(kind: Kind, d: &mut Dice, scene: &mut Scene, camera: &mut Camera, lens: &mut Lens) {
    let module = camera.scale;
    match kind {
        Kind::Sharp => {}
        Kind::Blur => lens.blur = d.between(0.2, 0.5) * module,
        Kind::Motion => {
            let way = (d.between(0.3, 1.0) * module) as usize;
            lens.motion = if d.next() & 1 == 0 {
                (way, 0)
            } else {
                (0, way)
            };
        }
        Kind::Perspective => {
            camera.yaw = d.tilt(20.0, 45.0);
            camera.pitch = d.either(20.0);
        }
        Kind::Rotation => camera.roll = d.either(180.0),
        Kind::Glare => {
            let at = (d.between(0.3, 0.7), d.between(0.3, 0.7));
            lens.glare = Some((at.0, at.1, d.between(0.08, 0.25), d.between(0.4, 0.8)));
            lens.haze = d.between(0.0, 0.2);
        }
        Kind::Noise => lens.noise = d.between(12.0, 35.0),
        Kind::Moire => {
            scene.dots = d.between(3.0, 7.0);
            scene.lines = d.between(0.3, 0.7);
            camera.roll = d.either(10.0);
        }
        Kind::LowLight => {
            lens.gain = d.between(0.15, 0.3);
            lens.noise = d.between(5.0, 9.0);
            lens.blur = d.between(0.1, 0.2) * module;
        }
        Kind::Far => camera.scale *= d.between(0.25, 0.4) / 0.6,
        Kind::Paper => {
            scene.ink = d.between(0.15, 0.3);
            scene.ran = d.between(0.05, 0.15);
            lens.falloff = d.between(0.3, 0.6);
            camera.yaw = d.either(15.0);
            camera.pitch = d.either(15.0);
        }
        Kind::Mixed => {
            camera.yaw = d.either(20.0);
            camera.pitch = d.either(15.0);
            camera.roll = d.either(20.0);
            scene.dots = d.between(3.0, 7.0);
            scene.lines = d.between(0.1, 0.4);
            lens.blur = d.between(0.1, 0.3) * module;
            lens.falloff = d.between(0.1, 0.4);
            lens.noise = d.between(5.0, 15.0);
            lens.gain = d.between(0.5, 0.9);
            lens.haze = d.between(0.0, 0.15);
        }
    }
}

impl Scene {
    /// Light from a point of the plane; the code spans 0 to n.
    fn at(&self, u: f64, v: f64) -> f64 {
        let n = self.n as f64;
        let card = 12.0;
        if u < -card || v < -card || u > n + card || v > n + card {
            // A desk: stripes of wood.
            return 0.35 + 0.08 * (u * 0.7 + (v * 0.11).sin() * 3.0).sin();
        }
        let inside = u >= 0.0 && v >= 0.0 && u < n && v < n;
        let mut light = if inside && self.is_dark(u, v) {
            self.ink
        } else if v > n + 6.0 && v < n + 9.0 && (u * 1.3).fract().abs() < 0.5 && inside_x(u, n) {
            // Words under the code.
            self.ink
        } else {
            self.ground
        };
        if self.dots > 0.0 {
            let edge = |x: f64| (x * self.dots).rem_euclid(1.0) < 0.3;
            if edge(u) || edge(v) {
                light *= 1.0 - self.lines;
            }
        }
        light
    }

    fn is_dark(&self, u: f64, v: f64) -> bool {
        let at = |u: f64, v: f64| {
            let inside = u >= 0.0 && v >= 0.0 && u < self.n as f64 && v < self.n as f64;
            inside && self.dark[v as usize * self.n + u as usize]
        };
        let r = self.ran;
        at(u, v) || (r > 0.0 && (at(u - r, v) || at(u + r, v) || at(u, v - r) || at(u, v + r)))
    }
}

fn inside_x(u: f64, n: f64) -> bool {
    u > 4.0 && u < n - 4.0
}

/// The light that falls on each pixel, 0 to 1.
fn expose(scene: &Scene, camera: &Camera, lens: &Lens, d: &mut Dice) -> Vec<f32> {
    let (w, h) = (camera.width as f64, camera.height as f64);
    let focal = 0.85 * w;
    let distance = focal / camera.scale;
    let (sy, cy) = camera.yaw.to_radians().sin_cos();
    let (sp, cp) = camera.pitch.to_radians().sin_cos();
    let (sr, cr) = camera.roll.to_radians().sin_cos();
    // Columns: the plane's axes and its normal, as the camera sees them.
    let e1 = [cy * cr, cp * sr + sp * sy * cr, sp * sr - cp * sy * cr];
    let e2 = [-cy * sr, cp * cr - sp * sy * sr, sp * cr + cp * sy * sr];
    let normal = [sy, -sp * cy, cp * cy];
    let middle = scene.n as f64 / 2.0;
    let mut light = Vec::with_capacity(camera.width * camera.height);
    for y in 0..camera.height {
        for x in 0..camera.width {
            let ray = [
                (x as f64 - w * (0.5 + camera.off.0)) / focal,
                (y as f64 - h * (0.5 + camera.off.1)) / focal,
                1.0,
            ];
            let along = ray[0] * normal[0] + ray[1] * normal[1] + ray[2] * normal[2];
            let t = distance * normal[2] / along;
            let p = [t * ray[0], t * ray[1], t * ray[2] - distance];
            let u = p[0] * e1[0] + p[1] * e1[1] + p[2] * e1[2] + middle;
            let v = p[0] * e2[0] + p[1] * e2[1] + p[2] * e2[2] + middle;
            light.push(scene.at(u, v) as f32);
        }
    }
    soften(&mut light, camera.width, camera.height, lens);
    let slope = (d.either(1.0), d.either(1.0));
    for (i, value) in light.iter_mut().enumerate() {
        let (x, y) = ((i % camera.width) as f64 / w, (i / camera.width) as f64 / h);
        let mut seen = f64::from(*value) * lens.gain;
        seen *= 1.0
            - lens.falloff * (0.5 + (slope.0 * (x - 0.5) + slope.1 * (y - 0.5)).clamp(-0.5, 0.5));
        seen = seen * (1.0 - lens.haze) + lens.haze;
        if let Some((gx, gy, size, strength)) = lens.glare {
            let far = ((x - gx).powi(2) + ((y - gy) * h / w).powi(2)) / (size * size);
            seen += strength * (-far).exp();
        }
        let noise = (0..4).map(|_| d.unit() - 0.5).sum::<f64>() * 1.73;
        seen += noise * lens.noise / 255.0;
        *value = seen.clamp(0.0, 1.0) as f32;
    }
    light
}

/// Blur as three box filters each way, and the camera's movement as one.
fn soften(light: &mut Vec<f32>, w: usize, h: usize, lens: &Lens) {
    let box_side = |sigma: f64| ((4.0 * sigma * sigma + 1.0).sqrt() as usize) | 1;
    let side = box_side(lens.blur);
    if side > 1 {
        for _ in 0..3 {
            boxes(light, w, h, side, true);
            boxes(light, w, h, side, false);
        }
    }
    boxes(light, w, h, lens.motion.0 | 1, true);
    boxes(light, w, h, lens.motion.1 | 1, false);
}

fn boxes(light: &mut Vec<f32>, w: usize, h: usize, side: usize, across: bool) {
    if side <= 1 {
        return;
    }
    let (lines, length, step, hop) = if across { (h, w, 1, w) } else { (w, h, w, 1) };
    let half = side / 2;
    let mut out = vec![0.0; light.len()];
    for line in 0..lines {
        let at = |i: usize| light[line * hop + i.min(length - 1) * step];
        let mut sum: f32 = (0..=half).map(at).sum::<f32>() + at(0) * half as f32;
        for i in 0..length {
            out[line * hop + i * step] = sum / side as f32;
            sum += at(i + half + 1) - at(i.saturating_sub(half));
        }
    }
    *light = out;
}

/// A JPEG, a little warm or cold as phones make them.
fn develop(light: &[f32], camera: &Camera, quality: u8, d: &mut Dice) -> Vec<u8> {
    let tint = [
        d.between(0.92, 1.0),
        d.between(0.95, 1.0),
        d.between(0.85, 1.0),
    ];
    let pixels: Vec<u8> = light
        .iter()
        .flat_map(|v| tint.map(|t| (f64::from(*v) * t * 255.0) as u8))
        .collect();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .write_image(
            &pixels,
            camera.width as u32,
            camera.height as u32,
            ExtendedColorType::Rgb8,
        )
        .unwrap();
    jpeg
}
