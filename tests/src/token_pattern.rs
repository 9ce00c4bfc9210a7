//! Finds a piece of Rust code by its shape, and replaces it.
//!
//! Code is compared token by token, so white space, line breaks, comments and
//! trailing commas do not matter. A pattern is Rust code with holes:
//!
//! | in a pattern | matches |
//! |---|---|
//! | `$name` | one name or path: `n`, `self.room`, `crate::log::Entry`, `now.0` |
//! | `$$name` | any tokens within one pair of brackets, or none |
//! | `"… $$name …"` | inside a string: any of its words, or none |
//!
//! A hole that is named twice must match the same tokens twice. A replacement
//! is text in which the holes of its pattern stand for what they matched.
//!
//! So `if $len > self.limit { $$refuse }` still matches after `len` was renamed,
//! and still does not match once the check is gone.

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};
use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr as _;

/// Names that are part of the language, and so of no path.
const KEYWORDS: [&str; 31] = [
    "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "fn",
    "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref",
    "return", "static", "struct", "trait", "type", "use", "where", "while",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A name that can stand in a path.
    Name,
    /// A whole number: `0` in `now.0`.
    Number,
    /// A word inside a string.
    Word,
    /// Opens a group; holds the index of the token that closes it.
    Open(usize),
    Close,
    Other,
}

/// One token and where it stands in its text.
#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: String,
    bytes: Range<usize>,
}

impl Token {
    fn same(&self, other: &Token) -> bool {
        let kinds = (self.kind, other.kind);
        self.text == other.text
            && (matches!(kinds, (Kind::Open(_), Kind::Open(_))) || kinds.0 == kinds.1)
    }
}

/// A text, cut into tokens.
#[derive(Debug)]
pub struct Source<'t> {
    text: &'t str,
    tokens: Vec<Token>,
}

impl<'t> Source<'t> {
    /// Cuts `text` into tokens; an error where it is not made of Rust's.
    pub fn new(text: &'t str) -> Result<Source<'t>, String> {
        let stream = TokenStream::from_str(text).map_err(|e| e.to_string())?;
        let mut tokens = Vec::new();
        flatten(stream, text, &mut tokens);
        Ok(Source { text, tokens })
    }

    /// The tokens of every function called `name`, from `fn` to its last brace.
    fn functions(&self, name: &str) -> Vec<Range<usize>> {
        let starts = self.tokens.windows(2).enumerate().filter(|(_, pair)| {
            let [a, b] = pair else { return false };
            a.text == "fn" && a.kind == Kind::Other && b.text == name && b.kind == Kind::Name
        });
        starts
            .filter_map(|(start, _)| {
                let mut at = start;
                loop {
                    match self.tokens.get(at)?.kind {
                        Kind::Open(end) if self.tokens[at].text == "{" => {
                            return Some(start..end + 1);
                        }
                        Kind::Open(end) => at = end + 1,
                        // A trait's, without a body.
                        _ if self.tokens[at].text == ";" => return None,
                        _ => at += 1,
                    }
                }
            })
            .collect()
    }

    /// The line of a token, from 1.
    fn line(&self, token: usize) -> usize {
        let upto = self.tokens.get(token).map_or(0, |t| t.bytes.start);
        self.text[..upto].matches('\n').count() + 1
    }

    fn slice(&self, tokens: &Range<usize>) -> &str {
        match (self.tokens.get(tokens.start), tokens.is_empty()) {
            (Some(first), false) => {
                &self.text[first.bytes.start..self.tokens[tokens.end - 1].bytes.end]
            }
            _ => "",
        }
    }
}

fn flatten(stream: TokenStream, text: &str, out: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Punct(p) if p.as_char() == '#' => {
                // `///` comments come as attributes.
                let bang =
                    trees.next_if(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == '!'));
                if trees.next_if(is_doc).is_some() {
                    continue;
                }
                push(out, Kind::Other, "#", p.span().byte_range());
                if let Some(bang) = bang {
                    push(out, Kind::Other, "!", bang.span().byte_range());
                }
            }
            TokenTree::Punct(p) => {
                push(out, Kind::Other, &p.to_string(), p.span().byte_range());
            }
            TokenTree::Ident(i) => {
                let name = i.to_string();
                let kind = if KEYWORDS.contains(&name.as_str()) {
                    Kind::Other
                } else {
                    Kind::Name
                };
                push(out, kind, &name, i.span().byte_range());
            }
            TokenTree::Literal(l) => flatten_literal(&l, text, out),
            TokenTree::Group(g) => flatten_group(&g, text, out),
        }
    }
}

fn push(out: &mut Vec<Token>, kind: Kind, text: &str, bytes: Range<usize>) {
    let text = text.to_owned();
    out.push(Token { kind, text, bytes });
}

fn is_doc(tree: &TokenTree) -> bool {
    let TokenTree::Group(g) = tree else {
        return false;
    };
    let mut inner = g.stream().into_iter();
    let named = matches!(inner.next(), Some(TokenTree::Ident(i)) if i == "doc");
    g.delimiter() == Delimiter::Bracket && named
}

fn flatten_group(group: &Group, text: &str, out: &mut Vec<Token>) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    };
    let start = out.len();
    push(out, Kind::Open(0), open, group.span_open().byte_range());
    flatten(group.stream(), text, out);
    // rustfmt puts a comma behind the last of several lines.
    out.pop_if(|last| last.text == "," && last.kind == Kind::Other);
    out[start].kind = Kind::Open(out.len());
    push(out, Kind::Close, close, group.span_close().byte_range());
}

/// A plain string is a group of words; any other literal is one token.
fn flatten_literal(literal: &Literal, text: &str, out: &mut Vec<Token>) {
    let bytes = literal.span().byte_range();
    let whole = &text[bytes.clone()];
    let Some(inner) = whole.strip_prefix('"').and_then(|w| w.strip_suffix('"')) else {
        let number = whole.bytes().all(|b| b.is_ascii_digit());
        let kind = if number { Kind::Number } else { Kind::Other };
        return push(out, kind, whole, bytes);
    };
    let start = out.len();
    push(out, Kind::Open(0), "\"", bytes.start..bytes.start + 1);
    let from = bytes.start + 1;
    // A backslash before a line break joins the lines, as white space does.
    for word in inner.split_whitespace().filter(|word| *word != "\\") {
        let at = from + (word.as_ptr() as usize - inner.as_ptr() as usize);
        push(out, Kind::Word, word, at..at + word.len());
    }
    out[start].kind = Kind::Open(out.len());
    push(out, Kind::Close, "\"", bytes.end - 1..bytes.end);
}

#[derive(Debug)]
enum Part {
    Exactly(Token),
    /// `$name`
    Path(String),
    /// `$$name`
    Any(String),
}

/// Code with holes.
#[derive(Debug)]
pub struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads a pattern; an error where it is no Rust, or begins with `$$`.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let tokens = Source::new(text)?.tokens;
        let mut parts = Vec::new();
        let mut rest = tokens.iter().peekable();
        while let Some(token) = rest.next() {
            let hole = match token.kind {
                Kind::Word => token
                    .text
                    .strip_prefix("$$")
                    .map(str::to_owned)
                    .map(Part::Any),
                _ if token.text == "$" => {
                    let any = rest.next_if(|t| t.text == "$").is_some();
                    let name = rest.next_if(|t| t.kind == Kind::Name);
                    let name = name.ok_or("a `$` without a name behind it")?.text.clone();
                    Some(if any {
                        Part::Any(name)
                    } else {
                        Part::Path(name)
                    })
                }
                _ => None,
            };
            parts.push(hole.unwrap_or_else(|| Part::Exactly(token.clone())));
        }
        match parts.first() {
            None => Err("an empty pattern".to_owned()),
            Some(Part::Any(_)) => Err("a pattern cannot begin with `$$`".to_owned()),
            Some(_) => Ok(Pattern { parts }),
        }
    }

    /// All places that match; within functions called `function`, if one is named.
    pub fn find<'s>(&self, source: &'s Source<'_>, function: Option<&str>) -> Vec<Found<'s>> {
        let places = match function {
            Some(name) => source.functions(name),
            None => std::iter::once(0..source.tokens.len()).collect(),
        };
        let starts = places.iter().flat_map(|p| p.clone().map(|at| (at, p.end)));
        starts
            .filter_map(|(at, limit)| {
                let inside_a_path = at > 0 && continues_a_path(&source.tokens, at);
                if matches!(self.parts.first(), Some(Part::Path(_))) && inside_a_path {
                    return None;
                }
                let mut matching = Matching {
                    tokens: &source.tokens[..limit],
                    holes: BTreeMap::new(),
                };
                let end = matching.run(&self.parts, at)?;
                Some(Found {
                    source,
                    tokens: at..end,
                    holes: matching.holes,
                })
            })
            .collect()
    }
}

/// True when the token before `at` joins it to a path.
fn continues_a_path(tokens: &[Token], at: usize) -> bool {
    let text = |back: usize| at.checked_sub(back).map_or("", |i| tokens[i].text.as_str());
    // `0..n` is a range, and no path.
    (text(1) == "." && text(2) != ".") || (text(1) == ":" && text(2) == ":")
}

struct Matching<'s> {
    tokens: &'s [Token],
    holes: BTreeMap<String, Range<usize>>,
}

impl Matching<'_> {
    /// Matches `parts` from the token `at` on; where they end.
    fn run(&mut self, parts: &[Part], at: usize) -> Option<usize> {
        let Some((first, rest)) = parts.split_first() else {
            return Some(at);
        };
        match first {
            Part::Exactly(wanted) => {
                let found = self.tokens.get(at)?;
                found.same(wanted).then(|| self.run(rest, at + 1))?
            }
            Part::Path(name) => {
                let ends = self.path_ends(at);
                // The longest first: a hole takes a part of a path only where
                // the pattern goes on with the other part.
                ends.into_iter()
                    .rev()
                    .find_map(|end| self.fill(name, at..end, rest))
            }
            Part::Any(name) => {
                let mut end = at;
                loop {
                    if let Some(done) = self.fill(name, at..end, rest) {
                        return Some(done);
                    }
                    end = match self.tokens.get(end)?.kind {
                        Kind::Close => return None,
                        Kind::Open(close) => close + 1,
                        _ => end + 1,
                    };
                }
            }
        }
    }

    /// Puts `tokens` into a hole and goes on behind them.
    fn fill(&mut self, name: &str, tokens: Range<usize>, rest: &[Part]) -> Option<usize> {
        let end = tokens.end;
        if let Some(before) = self.holes.get(name) {
            let (a, b) = (self.tokens.get(before.clone())?, self.tokens.get(tokens)?);
            let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b));
            return same.then(|| self.run(rest, end))?;
        }
        self.holes.insert(name.to_owned(), tokens);
        let done = self.run(rest, end);
        if done.is_none() {
            self.holes.remove(name);
        }
        done
    }

    /// Where a path that begins at `at` may end.
    fn path_ends(&self, at: usize) -> Vec<usize> {
        let kind = |i: usize| self.tokens.get(i).map(|t| t.kind);
        let is = |i: usize, text: &str| self.tokens.get(i).is_some_and(|t| t.text == text);
        if kind(at) != Some(Kind::Name) {
            return Vec::new();
        }
        let mut ends = vec![at + 1];
        let mut end = at + 1;
        loop {
            let field = matches!(kind(end + 1), Some(Kind::Name | Kind::Number));
            end += match () {
                () if is(end, ".") && field => 2,
                () if is(end, ":") && is(end + 1, ":") && kind(end + 2) == Some(Kind::Name) => 3,
                () => return ends,
            };
            ends.push(end);
        }
    }
}

/// A place that a pattern matches.
#[derive(Debug)]
pub struct Found<'s> {
    source: &'s Source<'s>,
    tokens: Range<usize>,
    holes: BTreeMap<String, Range<usize>>,
}

impl Found<'_> {
    /// The line on which it begins, from 1.
    pub fn line(&self) -> usize {
        self.source.line(self.tokens.start)
    }

    /// The whole text with this place replaced by `by`, whose holes are those of
    /// the pattern; an error where it names another.
    pub fn replaced(&self, by: &str) -> Result<String, String> {
        let first = self.source.tokens[self.tokens.start].bytes.start;
        let last = self.source.tokens[self.tokens.end - 1].bytes.end;
        let mut text = self.source.text[..first].to_owned();
        let mut rest = by;
        while let Some((before, hole)) = rest.split_once('$') {
            text.push_str(before);
            let hole = hole.strip_prefix('$').unwrap_or(hole);
            let end = hole.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            let (name, after) = hole.split_at(end.unwrap_or(hole.len()));
            let taken = self.holes.get(name);
            let taken = taken.ok_or_else(|| format!("`find` has no hole `${name}`"))?;
            text.push_str(self.source.slice(taken));
            rest = after;
        }
        text.push_str(rest);
        text.push_str(&self.source.text[last..]);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> usize {
        let source = Source::new(text).unwrap();
        Pattern::new(pattern).unwrap().find(&source, None).len()
    }

    fn replaced(pattern: &str, by: &str, text: &str) -> String {
        let source = Source::new(text).unwrap();
        let pattern = Pattern::new(pattern).unwrap();
        let found = pattern.find(&source, None);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].replaced(by).unwrap()
    }

    #[test]
    fn a_renamed_local_still_matches() {
        let pattern = "if $len > self.limit { $$refuse }";
        let before = "fn f() { if len > self.limit { return Err(Full); } }";
        let after = "fn f() { if length > self.limit { return Err(Full); } }";
        assert_eq!(matches(pattern, before), 1);
        assert_eq!(matches(pattern, after), 1);
        let gone = "fn f() { return Err(Full); }";
        assert_eq!(matches(pattern, gone), 0);
        let turned = "fn f() { if length < self.limit { return Err(Full); } }";
        assert_eq!(matches(pattern, turned), 0);
    }

    #[test]
    fn white_space_comments_and_last_commas_do_not_matter() {
        let text = "f(\n    a, // why\n    /* and */ b,\n);\n/// What it is.\nfn g() {}";
        assert_eq!(matches("f(a, b); fn g() {}", text), 1);
        assert_eq!(matches("f(a, b, c);", text), 0);
    }

    #[test]
    fn a_hole_named_twice_matches_the_same_twice() {
        assert_eq!(matches("$n + $n", "a.b + a . b"), 1);
        assert_eq!(matches("$n + $n", "a.b + a.c"), 0);
        assert_eq!(
            matches("$f($$x) == $f($$x)", "g(1, h[2]) == g(1, h[2],)"),
            1
        );
        assert_eq!(matches("$f($$x) == $f($$x)", "g(1, h[2]) == g(1, h[3])"), 0);
    }

    #[test]
    fn a_hole_takes_a_whole_path_and_no_more() {
        assert_eq!(
            replaced("$a < $b", "$a > $b", "if now.0 < t.target {}"),
            "if now.0 > t.target {}"
        );
        assert_eq!(
            replaced("$a.kill();", "", "self.keys.kill(); crate::go();"),
            " crate::go();"
        );
        // Neither the end of a path, nor a language's word.
        assert_eq!(matches("$a.kill()", "self.keys.kill()"), 1);
        assert_eq!(matches("$a = true", "let mut b = true"), 1);
        assert_eq!(matches("$a = true", "let = true"), 0);
        assert_eq!(matches("$a + 1", "0..self.n + 1"), 1);
    }

    #[test]
    fn any_tokens_end_with_their_brackets() {
        let text = "{ a(1); b[2] } else { c }";
        assert_eq!(
            replaced("{ $$x } else", "{ $$x; d }", text),
            "{ a(1); b[2]; d } { c }"
        );
        assert_eq!(matches("a $$x else", text), 0);
        assert_eq!(matches("f($$x)", "f()"), 1);
    }

    #[test]
    fn a_string_matches_word_by_word() {
        let text = "q(\"UPDATE t SET a = 1 \\\n      WHERE id = ?1 AND b = ?2\")";
        let pattern = "\"UPDATE $$set WHERE id = ?1 AND b = ?2\"";
        assert_eq!(
            replaced(pattern, "\"UPDATE $$set WHERE id = ?1\"", text),
            "q(\"UPDATE t SET a = 1 WHERE id = ?1\")"
        );
        assert_eq!(matches("\"UPDATE $$set WHERE id = ?1\"", text), 0);
        assert_eq!(matches("UPDATE", text), 0, "a word of a string is no name");
    }

    #[test]
    fn a_function_narrows_the_search() {
        let text = "fn f<const N: usize>(x: [u8; 2]) -> u8 { go() } fn g() { go() }";
        let source = Source::new(text).unwrap();
        let pattern = Pattern::new("go()").unwrap();
        assert_eq!(pattern.find(&source, None).len(), 2);
        assert_eq!(pattern.find(&source, Some("f")).len(), 1);
        assert_eq!(pattern.find(&source, Some("h")).len(), 0);
        let over_the_end = Pattern::new("go() } fn g()").unwrap_err();
        assert!(!over_the_end.is_empty());
    }

    #[test]
    fn a_wrong_pattern_is_an_error() {
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new("f($)").is_err());
        assert!(Pattern::new("$$all").is_err());
        assert!(Pattern::new("if {").is_err());
        let source = Source::new("a").unwrap();
        let found = Pattern::new("$x").unwrap();
        assert!(found.find(&source, None)[0].replaced("$y").is_err());
    }

    #[test]
    fn lines_are_counted_from_one() {
        let source = Source::new("a\n\nb c").unwrap();
        assert_eq!(Pattern::new("c").unwrap().find(&source, None)[0].line(), 3);
    }
}
