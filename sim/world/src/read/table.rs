//! One table of a scenario file, read key by key, with the place of each.

use super::FileError;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text, for complaints.
pub(super) struct Doc<'t> {
    text: &'t str,
}

impl<'t> Doc<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Doc { text }
    }

    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'t>>, FileError> {
        DeTable::parse(self.text).map_err(|e| {
            let span = e.span().unwrap_or(0..0);
            let hint = "this is not TOML (https://toml.io): look for a missing quote or bracket";
            self.wrong(span, e.message(), hint)
        })
    }

    fn line_of(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    fn before(&self, at: usize) -> &'t str {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        &self.text[..at]
    }

    fn wrong(&self, span: Range<usize>, what: &str, hint: &str) -> FileError {
        let before = self.before(span.start);
        let begin = before.rfind('\n').map_or(0, |n| n + 1);
        let source = self.text[begin..].lines().next().unwrap_or_default();
        FileError {
            line: self.line_of(span.start),
            column: before[begin..].chars().count() + 1,
            source: source.to_owned(),
            what: what.replace('\n', " "),
            hint: hint.to_owned(),
        }
    }
}

/// `a`, `b` or `c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "none is there".to_owned(),
        [one] => format!("`{one}`"),
        [all @ .., last] => {
            let all: Vec<String> = all.iter().map(|n| format!("`{n}`")).collect();
            format!("{} or `{last}`", all.join(", "))
        }
    }
}

/// The name that was meant, if one is near.
fn meant<'n>(typed: &str, names: &[&'n str]) -> Option<&'n str> {
    let near = |n: &&&str| strsim::damerau_levenshtein(typed, n);
    let best = names.iter().min_by_key(near)?;
    (near(&best) <= 1 + typed.chars().count() / 3).then_some(*best)
}

fn choice(typed: &str, names: &[&str]) -> String {
    match meant(typed, names) {
        Some(name) => format!("did you mean `{name}`? There is {}", listed(names)),
        None => format!("there is {}", listed(names)),
    }
}

pub(super) struct Table<'d, 't> {
    doc: &'d Doc<'t>,
    table: &'d DeTable<'t>,
    span: Range<usize>,
    used: BTreeSet<String>,
}

impl<'d, 't> Table<'d, 't> {
    pub(super) fn new(doc: &'d Doc<'t>, table: &'d DeTable<'t>, span: Range<usize>) -> Self {
        Table {
            doc,
            table,
            span,
            used: BTreeSet::new(),
        }
    }

    /// The line of its first key, or of its header.
    pub(super) fn line(&self) -> usize {
        let first = self.table.keys().map(|k| k.span().start).min();
        self.doc.line_of(first.unwrap_or(self.span.start))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.used.insert(key.to_owned());
        self.table.get(key)
    }

    /// A complaint about a key's value.
    pub(super) fn wrong(&self, key: &str, what: &str, hint: &str) -> FileError {
        let span = self.table.get(key).map_or(self.span.clone(), Spanned::span);
        self.doc.wrong(span, what, hint)
    }

    fn missing(&self, key: &str, hint: &str) -> FileError {
        let what = format!("`{key}` is missing");
        self.doc.wrong(self.span.clone(), &what, hint)
    }

    pub(super) fn maybe_text(&mut self, key: &str) -> Result<Option<String>, FileError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::String(s) => Ok(Some(s.to_string())),
            _ => Err(self.wrong(key, "this is no text", &format!("{key} = \"…\""))),
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Result<String, FileError> {
        let found = self.maybe_text(key)?;
        found.ok_or_else(|| self.missing(key, &format!("add {key} = \"…\"")))
    }

    /// A name that is not taken yet.
    pub(super) fn new_name(&mut self, key: &str, taken: &[&str]) -> Result<String, FileError> {
        let name = self.text(key)?;
        let plain = |c: char| c.is_alphanumeric() || " -_".contains(c);
        if name.is_empty() || name.chars().count() > 24 || !name.chars().all(plain) {
            let hint = "1 to 24 letters, digits, spaces, - or _";
            return Err(self.wrong(key, "this is no name", hint));
        }
        if taken.contains(&name.as_str()) {
            let what = format!("`{name}` is there already");
            return Err(self.wrong(key, &what, "give each a name of its own"));
        }
        Ok(name)
    }

    /// The place of a name among those that are known.
    pub(super) fn known(
        &mut self,
        key: &str,
        what: &str,
        names: &[&str],
    ) -> Result<usize, FileError> {
        let name = self.text(key)?;
        let at = names.iter().position(|n| *n == name);
        at.ok_or_else(|| {
            let wrong = format!("there is no {what} `{name}` here");
            self.wrong(key, &wrong, &choice(&name, names))
        })
    }

    pub(super) fn maybe_one_of<T: Copy>(
        &mut self,
        key: &str,
        all: &[(&str, T)],
    ) -> Result<Option<T>, FileError> {
        let Some(name) = self.maybe_text(key)? else {
            return Ok(None);
        };
        let names: Vec<&str> = all.iter().map(|(n, _)| *n).collect();
        let at = names.iter().position(|n| *n == name);
        match at {
            Some(at) => Ok(Some(all[at].1)),
            None => {
                let what = format!("`{name}` is no `{key}`");
                Err(self.wrong(key, &what, &choice(&name, &names)))
            }
        }
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, all: &[(&str, T)]) -> Result<T, FileError> {
        let found = self.maybe_one_of(key, all)?;
        let names: Vec<&str> = all.iter().map(|(n, _)| *n).collect();
        found.ok_or_else(|| self.missing(key, &format!("add {key} = {}", listed(&names))))
    }

    pub(super) fn maybe_flag(&mut self, key: &str) -> Result<Option<bool>, FileError> {
        match self.take(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Boolean(b)) => Ok(Some(*b)),
            Some(_) => Err(self.wrong(key, "this is neither true nor false", "true or false")),
        }
    }

    pub(super) fn maybe_number(&mut self, key: &str, max: u64) -> Result<Option<u64>, FileError> {
        let hint = format!("a whole number from 0 to {max}");
        match self.take(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Integer(i)) => {
                let n = u64::from_str_radix(i.as_str(), i.radix()).ok();
                let n = n.filter(|n| *n <= max);
                n.map(Some)
                    .ok_or_else(|| self.wrong(key, "this number is out of range", &hint))
            }
            Some(_) => Err(self.wrong(key, "this is no whole number", &hint)),
        }
    }

    pub(super) fn number(&mut self, key: &str, max: u64) -> Result<u64, FileError> {
        let found = self.maybe_number(key, max)?;
        found.ok_or_else(|| self.missing(key, &format!("add {key} = a whole number")))
    }

    /// "90 s", "15 min", "36 h", "3 days", "2 weeks", "1 year"; in seconds.
    pub(super) fn maybe_duration_s(&mut self, key: &str) -> Result<Option<u64>, FileError> {
        let Some(typed) = self.maybe_text(key)? else {
            return Ok(None);
        };
        let hint = "a number and s, min, h, days, weeks or years: \"90 s\", \"15 min\", \"36 h\", \"3 days\"";
        let split = typed
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(typed.len());
        let (number, unit) = typed.split_at(split);
        let unit_s = match unit.trim() {
            "s" => Some(1),
            "min" => Some(60),
            "h" | "hour" | "hours" => Some(3600),
            "d" | "day" | "days" => Some(86_400),
            "week" | "weeks" => Some(7 * 86_400),
            "year" | "years" => Some(365 * 86_400),
            _ => None,
        };
        let s = unit_s.and_then(|u: u64| number.parse::<u64>().ok()?.checked_mul(u));
        let s = s.filter(|s| *s <= 100 * 365 * 86_400);
        s.map(Some)
            .ok_or_else(|| self.wrong(key, &format!("\"{typed}\" is no duration"), hint))
    }

    /// A duration that may begin with a minus.
    pub(super) fn signed_duration_s(&mut self, key: &str) -> Result<i64, FileError> {
        let typed = self.text(key)?;
        let (sign, digits) = match typed.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, typed.as_str()),
        };
        let hint = "how far off the clock is: \"-3 days\" for late, \"2 h\" for early";
        let text = format!("d = \"{digits}\"");
        let doc = Doc::new(&text);
        let parsed = doc.parse().ok();
        let s = parsed.and_then(|p| {
            Table::new(&doc, p.get_ref(), 0..0)
                .maybe_duration_s("d")
                .ok()
        });
        match s.flatten() {
            Some(s) => Ok(sign * s as i64),
            None => Err(self.wrong(key, &format!("\"{typed}\" is no duration"), hint)),
        }
    }

    /// The tables of an array, `[[key]]`.
    pub(super) fn tables(
        &mut self,
        key: &str,
        max: usize,
    ) -> Result<Vec<Table<'d, 't>>, FileError> {
        let Some(value) = self.take(key) else {
            let hint = format!("add at least one [[{key}]]");
            return Err(self.missing(key, &hint));
        };
        let hint = format!("begin each with [[{key}]]");
        let DeValue::Array(array) = value.get_ref() else {
            return Err(self.wrong(key, &format!("`{key}` is no list of tables"), &hint));
        };
        if array.len() > max {
            return Err(self.wrong(key, &format!("more than {max} of them"), "fewer"));
        }
        let mut all = Vec::new();
        for item in array.iter() {
            let DeValue::Table(t) = item.get_ref() else {
                return Err(self.doc.wrong(item.span(), "this is no table", &hint));
            };
            all.push(Table::new(self.doc, t, item.span()));
        }
        Ok(all)
    }

    /// Complains about a key that nobody asked for.
    pub(super) fn done(&self, of: &str, allowed: &[&str]) -> Result<(), FileError> {
        let strange = self
            .table
            .keys()
            .find(|k| !self.used.contains(k.get_ref().as_ref()));
        match strange {
            None => Ok(()),
            Some(key) => {
                let name: &str = key.get_ref();
                let what = if allowed.contains(&name) {
                    format!("`{name}` has no use here")
                } else {
                    format!("{of} has no `{name}`")
                };
                Err(self.doc.wrong(key.span(), &what, &choice(name, allowed)))
            }
        }
    }
}
