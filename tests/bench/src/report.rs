//! One measured figure beside what it is held against, and how it is shown.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What a figure is held against.
#[derive(Debug, Clone)]
pub(crate) enum Against {
    /// The least it could be.
    Floor(f64),
    /// What others need for the same work; `None`: it does not fit, or is not
    /// offered.
    Peers(Vec<(String, Option<f64>)>),
    /// Nothing: a figure to know.
    Nothing,
}

/// When a figure is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// At most so many times the floor, or the best peer.
    Times(f64),
    /// Below the best peer.
    Ahead,
    /// At most this.
    AtMost(f64),
    /// No target.
    None,
}

/// One line of the report.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What was measured; unique within a report.
    pub(crate) name: String,
    /// In what.
    pub(crate) unit: &'static str,
    /// The figure.
    pub(crate) ours: f64,
    /// What it is held against.
    pub(crate) against: Against,
    /// When it is good.
    pub(crate) target: Target,
    /// Further figures: name and value.
    pub(crate) more: Vec<(String, f64)>,
    /// What a reader must know to judge it.
    pub(crate) note: String,
}

impl Row {
    /// A figure on its own.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, ours: f64) -> Row {
        Row {
            name: name.into(),
            unit,
            ours,
            against: Against::Nothing,
            target: Target::None,
            more: Vec::new(),
            note: String::new(),
        }
    }

    pub(crate) fn floor(mut self, floor: f64, target: Target) -> Row {
        self.against = Against::Floor(floor);
        self.target = target;
        self
    }

    pub(crate) fn peers(mut self, peers: Vec<(String, Option<f64>)>, target: Target) -> Row {
        self.against = Against::Peers(peers);
        self.target = target;
        self
    }

    pub(crate) fn at_most(mut self, limit: f64) -> Row {
        self.target = Target::AtMost(limit);
        self
    }

    pub(crate) fn more(mut self, name: impl Into<String>, value: f64) -> Row {
        self.more.push((name.into(), value));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    /// What the figure is divided by.
    fn base(&self) -> Option<f64> {
        match &self.against {
            Against::Floor(f) => Some(*f),
            Against::Peers(peers) => peers.iter().filter_map(|p| p.1).reduce(f64::min),
            Against::Nothing => None,
        }
    }

    /// The figure over its floor, or over the best peer.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let base = self.base().filter(|&b| b > 0.0)?;
        Some(self.ours / base).filter(|r| r.is_finite())
    }

    /// Whether the target is met; `None` where there is none.
    pub(crate) fn met(&self) -> Option<bool> {
        match (self.target, self.base()) {
            (Target::AtMost(limit), _) => Some(self.ours <= limit),
            (Target::Times(n), Some(base)) => Some(self.ours <= base * n),
            (Target::Ahead, Some(base)) => Some(self.ours < base),
            _ => None,
        }
    }

    fn target_text(&self) -> String {
        let whom = match self.against {
            Against::Peers(_) => "best peer",
            _ => "floor",
        };
        match self.target {
            Target::Times(n) => format!("≤ {n} × {whom}"),
            Target::Ahead => "ahead of every peer".to_owned(),
            Target::AtMost(n) => format!("≤ {}", short(n)),
            Target::None => String::new(),
        }
    }

    /// One object on one line.
    pub(crate) fn json(&self) -> String {
        let mut o = Map::new();
        o.insert("name".into(), json!(self.name));
        o.insert("unit".into(), json!(self.unit));
        o.insert("ours".into(), number(self.ours));
        match &self.against {
            Against::Floor(f) => {
                o.insert("floor".into(), number(*f));
            }
            Against::Peers(peers) => {
                let peers: Map<String, Value> = peers
                    .iter()
                    .map(|(n, v)| (n.clone(), v.map_or(Value::Null, number)))
                    .collect();
                o.insert("peers".into(), Value::Object(peers));
            }
            Against::Nothing => {}
        }
        o.insert("ratio".into(), self.ratio().map_or(Value::Null, number));
        o.insert("target".into(), json!(self.target_text()));
        o.insert("met".into(), json!(self.met()));
        if !self.more.is_empty() {
            let more: Map<String, Value> = self
                .more
                .iter()
                .map(|(n, v)| (n.clone(), number(*v)))
                .collect();
            o.insert("more".into(), Value::Object(more));
        }
        if !self.note.is_empty() {
            o.insert("note".into(), json!(self.note));
        }
        Value::Object(o).to_string()
    }
}

fn number(v: f64) -> Value {
    match v.fract() == 0.0 && v.abs() < 1e15 {
        true => json!(v as i64),
        false => json!((v * 10_000.0).round() / 10_000.0),
    }
}

/// A figure as a person reads it.
pub(crate) fn short(v: f64) -> String {
    let grouped = |n: i64| {
        let digits = n.abs().to_string();
        let mut out = String::new();
        for (i, d) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                out.push(',');
            }
            out.push(d);
        }
        out
    };
    match v.abs() {
        n if n.is_nan() => "does not fit".to_owned(),
        n if n >= 1000.0 => grouped(v.round() as i64),
        n if n >= 100.0 || v.fract() == 0.0 => format!("{v:.0}"),
        n if n >= 10.0 => format!("{v:.1}"),
        _ => format!("{v:.2}"),
    }
}

/// A group of rows that one command prints.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// The word that selects it on the command line.
    pub(crate) key: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// What the rows mean, for the document.
    pub(crate) about: String,
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// Text after the table: plots, lists.
    pub(crate) after: String,
    /// Why nothing was measured here.
    pub(crate) skipped: Option<String>,
}

impl Section {
    pub(crate) fn new(key: &'static str, title: &'static str, about: impl Into<String>) -> Section {
        Section {
            key,
            title,
            about: about.into(),
            rows: Vec::new(),
            after: String::new(),
            skipped: None,
        }
    }

    /// As Markdown, for `docs/reports/PERFORMANCE.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "## {}\n", self.title);
        if !self.about.is_empty() {
            let _ = writeln!(out, "{}\n", self.about);
        }
        let _ = writeln!(
            out,
            "`cargo run --release -p nrd-tests --bin bench -- {}`\n",
            self.key
        );
        if let Some(why) = &self.skipped {
            let _ = writeln!(out, "**Not measured:** {why}\n");
        }
        out.push_str(&self.table(true));
        out.push_str(&self.missed());
        out.push_str(&self.after);
        out
    }

    /// Missed targets by reason, each with the rows' nearest and farthest figure.
    fn missed(&self) -> String {
        let mut by: Vec<(&str, Vec<&Row>)> = Vec::new();
        for row in self.rows.iter().filter(|r| r.met() == Some(false)) {
            let why = crate::reasons::why(self.key, &row.name);
            match by.iter_mut().find(|(w, _)| *w == why) {
                Some((_, rows)) => rows.push(row),
                None => by.push((why, vec![row])),
            }
        }
        if by.is_empty() {
            return String::new();
        }
        let mut out = "Missed, and why:\n\n".to_owned();
        for (why, rows) in by {
            let ratios: Vec<f64> = rows.iter().filter_map(|r| r.ratio()).collect();
            let low = ratios.iter().copied().fold(f64::MAX, f64::min);
            let high = ratios.iter().copied().fold(0.0, f64::max);
            let names = match rows.as_slice() {
                [one] => format!("*{}*", one.name),
                [first, .., last] => {
                    format!("{} rows, *{}* to *{}*", rows.len(), first.name, last.name)
                }
                [] => continue,
            };
            let ratios = match ratios.len() {
                0 => String::new(),
                1 => format!(" ({low:.2} ×)"),
                _ => format!(" ({low:.2} to {high:.2} ×)"),
            };
            let _ = writeln!(out, "- {names}{ratios}: {why}.");
        }
        out.push('\n');
        out
    }

    /// As a table for a terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("\n== {} [{}]\n", self.title, self.key);
        if let Some(why) = &self.skipped {
            let _ = writeln!(out, "NOT MEASURED: {why}");
        }
        out.push_str(&self.table(false));
        out
    }

    fn table(&self, markdown: bool) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let peers: Vec<String> = self.rows.iter().fold(Vec::new(), |mut all, row| {
            if let Against::Peers(p) = &row.against {
                for (name, _) in p.iter().filter(|_| true) {
                    if !all.contains(name) {
                        all.push(name.clone());
                    }
                }
            }
            all
        });
        let extra: Vec<String> = self.rows.iter().fold(Vec::new(), |mut all, row| {
            for (name, _) in &row.more {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
            all
        });
        let floors = self
            .rows
            .iter()
            .any(|r| matches!(r.against, Against::Floor(_)));
        let mut head = vec!["what".to_owned(), "unit".to_owned(), "ours".to_owned()];
        if floors {
            head.push("floor".to_owned());
        }
        head.extend(peers.iter().cloned());
        let judged = self.rows.iter().any(|r| r.target != Target::None);
        if self.rows.iter().any(|r| r.ratio().is_some()) {
            head.push("ratio".to_owned());
        }
        if judged {
            head.extend(["target".to_owned(), "met".to_owned()]);
        }
        head.extend(extra.iter().cloned());
        let ratios = head.contains(&"ratio".to_owned());
        let mut lines = vec![head];
        for row in &self.rows {
            let mut line = vec![row.name.clone(), row.unit.to_owned(), short(row.ours)];
            if floors {
                line.push(match row.against {
                    Against::Floor(f) => short(f),
                    _ => String::new(),
                });
            }
            for name in &peers {
                line.push(match &row.against {
                    Against::Peers(p) => match p.iter().find(|(n, _)| n == name) {
                        Some((_, Some(v))) => short(*v),
                        Some((_, None)) => "does not fit".to_owned(),
                        None => String::new(),
                    },
                    _ => String::new(),
                });
            }
            if ratios {
                line.push(row.ratio().map_or(String::new(), |r| format!("{r:.2}")));
            }
            if judged {
                line.push(row.target_text());
                line.push(match row.met() {
                    Some(true) => "yes".to_owned(),
                    Some(false) => "**no**".to_owned(),
                    None => String::new(),
                });
            }
            for name in &extra {
                let value = row.more.iter().find(|(n, _)| n == name);
                line.push(value.map_or(String::new(), |(_, v)| short(*v)));
            }
            lines.push(line);
        }
        let mut out = match markdown {
            true => pipes(&lines),
            false => columns(&lines),
        };
        let mut notes = self.rows.iter().filter(|r| !r.note.is_empty()).peekable();
        if markdown && notes.peek().is_some() {
            out.push('\n');
        }
        for row in notes {
            let _ = match markdown {
                true => writeln!(out, "- *{}*: {}", row.name, row.note),
                false => writeln!(out, "  {}: {}", row.name, row.note),
            };
        }
        out.push('\n');
        out
    }
}

fn pipes(lines: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (n, line) in lines.iter().enumerate() {
        let _ = writeln!(out, "| {} |", line.join(" | "));
        if n == 0 {
            let rule: Vec<&str> = line
                .iter()
                .map(|h| match h.as_str() {
                    "what" | "unit" | "target" | "met" => "---",
                    _ => "---:",
                })
                .collect();
            let _ = writeln!(out, "|{}|", rule.join("|"));
        }
    }
    out
}

fn columns(lines: &[Vec<String>]) -> String {
    let width = |c: usize| {
        lines
            .iter()
            .filter_map(|l| l.get(c))
            .map(|s| s.replace("**", "").chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (c, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let cell = cell.replace("**", "");
            let pad = " ".repeat(width - cell.chars().count());
            match c {
                0 => text.push_str(&format!("{cell}{pad}  ")),
                _ => text.push_str(&format!("{pad}{cell}  ")),
            }
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    out
}
