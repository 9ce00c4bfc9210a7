//! Sixteen pictograms that screen and page both show, so that a person sees
//! that the page is about the screen in front of them.

/// A shape: its word, and what draws it in a square of 24 units.
const SHAPES: [(&str, &str); 4] = [
    ("circle", r#"<circle cx="12" cy="12" r="10"/>"#),
    (
        "square",
        r#"<rect x="3" y="3" width="18" height="18" rx="2"/>"#,
    ),
    ("triangle", r#"<path d="M12 2 23 21H1z"/>"#),
    (
        "star",
        r#"<path d="m12 1 3.2 7.2 7.8.7-5.9 5.2 1.8 7.7L12 17.7l-6.9 4.1 1.8-7.7L1 8.9l7.8-.7z"/>"#,
    ),
];
const COLOURS: [(&str, &str); 4] = [
    ("red", "#c2183b"),
    ("blue", "#1d5fc4"),
    ("green", "#1b7a3d"),
    ("yellow", "#e8ae00"),
];

/// The pictogram in words, such as "blue star".
pub fn words(n: u8) -> String {
    let ((shape, _), (colour, _)) = parts(n);
    format!("{colour} {shape}")
}

/// The pictogram as an SVG image of its own.
pub fn svg(n: u8) -> String {
    let ((_, body), (_, colour)) = parts(n);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="{colour}">{body}</svg>"#
    )
}

type Words = (&'static str, &'static str);

/// Shape and colour; numbers from 16 on begin again.
fn parts(n: u8) -> (Words, Words) {
    let n = usize::from(n % 16);
    (SHAPES[n / 4], COLOURS[n % 4])
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_pictograms_are_alike() {
        let all: std::collections::HashSet<String> = (0..16).map(super::words).collect();
        assert_eq!(all.len(), 16);
    }
}
