//! Text from a stranger, made harmless for terminals, pages and tables.

/// `text` with what steers a terminal or turns the order of its letters spelled
/// out: control characters, line and paragraph separators, and the marks of
/// bidirectional text.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if steers(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}

/// Whether a letter does something else than being seen.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
        )
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn attack_52_a_model_does_not_steer_a_terminal() {
        let shown = printable("TV\u{1b}[2J\r\u{9b}31m ’é");
        assert_eq!(shown, "TV\\u{1b}[2J\\u{d}\\u{9b}31m ’é");
        assert_eq!(printable("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
    }
}
