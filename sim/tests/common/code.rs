//! Sharp pictures of codes.

/// A sharp picture (PNG) of the code of `text`.
pub(crate) fn code(text: &str) -> Vec<u8> {
    const SCALE: usize = 6;
    let (side, runs) = nrd_sim::service::desk::qr_modules(text).unwrap();
    let width = (side + 8) * SCALE;
    let mut pixels = vec![255_u8; width * width];
    for run in runs {
        for y in 0..SCALE {
            let at = ((run.y + 4) * SCALE + y) * width + (run.x + 4) * SCALE;
            pixels[at..at + run.length * SCALE].fill(0);
        }
    }
    let mut file = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    let width = width as u32;
    image::ImageEncoder::write_image(encoder, &pixels, width, width, image::ExtendedColorType::L8)
        .unwrap();
    file
}
