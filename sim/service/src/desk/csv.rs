//! Comma-separated values (RFC 4180), for spreadsheets that people open without a
//! second look.

use nrd_sim_base::printable;

/// A line of these cells, its end included.
pub(super) fn line<'c>(cells: impl IntoIterator<Item = &'c str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    cells.join(",") + "\r\n"
}

/// One cell: always quoted, so that no list separator of a spreadsheet's language
/// ends it early; without control characters; and never a formula.
fn cell(text: &str) -> String {
    let text = printable(text);
    // A spreadsheet takes these for the beginning of a formula, some after spaces,
    // and their full-width forms too. An apostrophe makes it text.
    let first = text.trim_start().chars().next();
    let formula = first.is_some_and(|c| "=+-@＝＋－＠".contains(c));
    let defused = if formula { "'" } else { "" };
    format!("\"{defused}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn cells_are_quoted_and_no_cell_is_a_formula() {
        assert_eq!(line(["a", "b, c", ""]), "\"a\",\"b, c\",\"\"\r\n");
        assert_eq!(line(["say \"x\""]), "\"say \"\"x\"\"\"\r\n");
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "＝1"] {
            assert_eq!(line([formula]), format!("\"'{formula}\"\r\n"));
        }
        // What a formula may hide behind, and what would end the line.
        let steered = line(["\t=1\r\n=2\u{1b}[2J"]);
        assert_eq!(steered, "\"\\u{9}=1\\u{d}\\u{a}=2\\u{1b}[2J\"\r\n");
        assert_eq!(line(["NRD-STB-1"]), "\"NRD-STB-1\"\r\n");
    }
}
