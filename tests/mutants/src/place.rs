//! Puts mutants into a source file, each behind a switch of its own.
//!
//! A mutant is a region of the text, and the same region with something in it
//! replaced: `region` becomes `(if on(7) { changed } else { region })`. The text
//! is replaced as cargo-mutants does it, without parentheses: `a && b && c` with
//! its second `&&` replaced is `a && b || c`. Where that changes how the parts
//! bind, the region is the whole chain of operators.

use crate::list::{Mutant, Point};
use proc_macro2::LineColumn;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr};

/// By its number, what is to be replaced, and by what.
type Change = (usize, Range<usize>, String);

/// A file with the places of its mutants.
pub(crate) struct Placed {
    source: String,
    /// By where the region begins and ends; outer ones come first.
    regions: BTreeMap<(usize, Reverse<usize>), Vec<Change>>,
    /// What is put in, and for which mutant.
    inserts: BTreeMap<usize, Vec<(usize, String)>>,
    /// The numbers of those that stand in constants, where nothing can be asked,
    /// or would put `||` beside a `let`, which is no Rust.
    pub(crate) unplaced: HashSet<usize>,
}

/// The call that asks for a mutant; [`number_before`] finds it again.
fn on(number: usize) -> String {
    format!("crate::switch::on({number})")
}

/// The last mutant that is asked for before `at`.
pub(crate) fn number_before(text: &str, at: usize) -> Option<usize> {
    let from = text.get(..at)?.rfind("crate::switch::on(")?;
    number(text, from)
}

/// The first match arm taken away behind `at` whose mutant is not in `but`.
pub(crate) fn arm_after(text: &str, at: usize, but: &HashSet<usize>) -> Option<usize> {
    let found = text.match_indices(" if !crate::switch::on(");
    let numbers = found.filter(|(from, _)| *from > at);
    let mut numbers = numbers.filter_map(|(from, _)| number(text, from));
    numbers.find(|n| !but.contains(n))
}

fn number(text: &str, from: usize) -> Option<usize> {
    let digits = text.get(from..)?.split_once('(')?.1;
    digits.split_once(')')?.0.parse().ok()
}

impl Placed {
    /// Finds the places of `mutants` (by their numbers) in `source`.
    pub(crate) fn find(source: String, mutants: &[(usize, &Mutant)]) -> syn::Result<Placed> {
        let file = syn::parse_file(&source)?;
        let mut finder = Finder {
            source: &source,
            wanted: HashMap::new(),
            regions: BTreeMap::new(),
            inserts: BTreeMap::new(),
            constant: 0,
            chain: Vec::new(),
        };
        for (number, m) in mutants {
            let key = (m.genre.clone(), m.span.start.line, m.span.start.column);
            let entry = finder.wanted.entry(key).or_default();
            entry.push((*number, m.replacement.clone()));
        }
        finder.visit_file(&file);
        let Finder {
            wanted,
            regions,
            inserts,
            ..
        } = finder;
        Ok(Placed {
            unplaced: wanted.into_values().flatten().map(|(n, _)| n).collect(),
            source,
            regions,
            inserts,
        })
    }

    /// The file's text with every mutant in it that is not in `but`.
    pub(crate) fn text(&self, but: &HashSet<usize>) -> String {
        self.render(0..self.source.len(), None, but)
    }

    /// `within` with all that stands in it; `inside` is the region that it is.
    fn render(&self, within: Range<usize>, inside: Option<usize>, but: &HashSet<usize>) -> String {
        let mut out = String::new();
        let mut at = within.start;
        for (&(start, Reverse(end)), changes) in
            self.regions.range((within.start, Reverse(usize::MAX))..)
        {
            if start >= within.end {
                break;
            }
            let itself = inside.is_some() && (start..end) == within;
            if start < at || end > within.end || itself {
                continue;
            }
            self.plain(at..start, but, &mut out);
            let body = self.render(start..end, Some(end), but);
            let mut live = changes.iter().filter(|(n, ..)| !but.contains(n)).peekable();
            if live.peek().is_none() {
                out.push_str(&body);
            } else {
                out.push('(');
                for (n, what, by) in live {
                    let (before, after) =
                        (&self.source[start..what.start], &self.source[what.end..end]);
                    out.push_str(&format!("if {} {{ {before}{by}{after} }} else ", on(*n)));
                }
                out.push_str(&format!("{{ {body} }})"));
            }
            at = end;
        }
        self.plain(at..within.end, but, &mut out);
        out
    }

    /// The text of `range` with what is put in behind its first byte.
    fn plain(&self, range: Range<usize>, but: &HashSet<usize>, out: &mut String) {
        let mut at = range.start;
        let places = self.inserts.range(range.start..);
        let places = places.skip_while(|(place, _)| **place == range.start);
        for (&place, texts) in places.take_while(|(place, _)| **place <= range.end) {
            out.push_str(&self.source[at..place]);
            for (_, text) in texts.iter().filter(|(n, _)| !but.contains(n)) {
                out.push_str(text);
            }
            at = place;
        }
        out.push_str(&self.source[at..range.end]);
    }
}

struct Finder<'s> {
    source: &'s str,
    /// By genre, line and column: number and replacement. What was placed is
    /// taken out.
    wanted: HashMap<(String, usize, usize), Vec<(usize, String)>>,
    regions: BTreeMap<(usize, Reverse<usize>), Vec<Change>>,
    inserts: BTreeMap<usize, Vec<(usize, String)>>,
    /// How deep in what the compiler evaluates.
    constant: u32,
    /// The operators around this one, outermost first: region, and whether it
    /// holds a `let`.
    chain: Vec<(Range<usize>, bool)>,
}

fn point(at: LineColumn) -> Point {
    Point {
        line: at.line,
        column: at.column + 1,
    }
}

impl Finder<'_> {
    /// The mutants of `genre` that begin where `what` does.
    fn take(&mut self, genre: &str, what: &impl Spanned) -> Vec<(usize, String)> {
        if self.constant > 0 {
            return Vec::new();
        }
        let at = point(what.span().start());
        let key = (genre.to_owned(), at.line, at.column);
        self.wanted.remove(&key).unwrap_or_default()
    }

    fn change(&mut self, region: Range<usize>, what: Range<usize>, found: Vec<(usize, String)>) {
        let key = (region.start, Reverse(region.end));
        let changes = found.into_iter().map(|(n, by)| (n, what.clone(), by));
        if changes.len() > 0 {
            self.regions.entry(key).or_default().extend(changes);
        }
    }

    fn insert(&mut self, at: usize, found: Vec<(usize, String)>) {
        if !found.is_empty() {
            self.inserts.entry(at).or_default().extend(found);
        }
    }

    /// A function's body gives the replaced value before it does anything.
    fn body(&mut self, block: &syn::Block) {
        let Some(first) = block.stmts.first() else {
            return;
        };
        let found = self.take("FnValue", first);
        let value = |(n, by): (usize, String)| (n, format!("if {} {{ return {by}; }} ", on(n)));
        let found = found.into_iter().map(value).collect();
        self.insert(first.span().byte_range().start, found);
    }

    fn in_constant(&mut self, constant: bool, visit: impl FnOnce(&mut Self)) {
        self.constant += u32::from(constant);
        visit(self);
        self.constant -= u32::from(constant);
    }
}

/// How tightly an operator binds.
fn binds(operator: &str) -> u8 {
    match operator {
        "||" => 1,
        "&&" => 2,
        "==" | "!=" | "<" | ">" | "<=" | ">=" => 3,
        "|" => 4,
        "^" => 5,
        "&" => 6,
        "<<" | ">>" => 7,
        "+" | "-" => 8,
        "*" | "/" | "%" => 9,
        // Assignments.
        _ => 0,
    }
}

fn has_let(e: &Expr) -> bool {
    match e {
        Expr::Let(_) => true,
        Expr::Binary(b) => has_let(&b.left) || has_let(&b.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_const(&mut self, i: &'ast syn::ItemConst) {
        self.in_constant(true, |s| visit::visit_item_const(s, i));
    }

    fn visit_item_static(&mut self, i: &'ast syn::ItemStatic) {
        self.in_constant(true, |s| visit::visit_item_static(s, i));
    }

    fn visit_impl_item_const(&mut self, i: &'ast syn::ImplItemConst) {
        self.in_constant(true, |s| visit::visit_impl_item_const(s, i));
    }

    fn visit_trait_item_const(&mut self, i: &'ast syn::TraitItemConst) {
        self.in_constant(true, |s| visit::visit_trait_item_const(s, i));
    }

    /// Lengths of arrays.
    fn visit_type(&mut self, i: &'ast syn::Type) {
        self.in_constant(true, |s| visit::visit_type(s, i));
    }

    fn visit_expr_repeat(&mut self, i: &'ast syn::ExprRepeat) {
        self.visit_expr(&i.expr);
    }

    fn visit_variant(&mut self, i: &'ast syn::Variant) {
        self.in_constant(true, |s| visit::visit_variant(s, i));
    }

    fn visit_item_fn(&mut self, i: &'ast syn::ItemFn) {
        self.in_constant(i.sig.constness.is_some(), |s| {
            s.body(&i.block);
            visit::visit_item_fn(s, i);
        });
    }

    fn visit_impl_item_fn(&mut self, i: &'ast syn::ImplItemFn) {
        self.in_constant(i.sig.constness.is_some(), |s| {
            s.body(&i.block);
            visit::visit_impl_item_fn(s, i);
        });
    }

    fn visit_trait_item_fn(&mut self, i: &'ast syn::TraitItemFn) {
        if let Some(block) = &i.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, i);
    }

    fn visit_expr_binary(&mut self, i: &'ast syn::ExprBinary) {
        let region = i.span().byte_range();
        let lets = has_let(&i.left) || has_let(&i.right);
        let what = i.op.span().byte_range();
        let operator = &self.source[what.clone()];
        let beside_let = lets || self.chain.iter().any(|(_, lets)| *lets);
        if !(matches!(i.op, BinOp::And(_)) && beside_let) {
            let mut rest = self.take("BinaryOperator", &i.op);
            let apart = rest.extract_if(.., |(_, by)| binds(by) != binds(operator));
            let apart: Vec<_> = apart.collect();
            let outermost = self.chain.iter().find(|(_, lets)| !lets);
            let chain = outermost.map_or(region.clone(), |(chain, _)| chain.clone());
            self.change(chain, what.clone(), apart);
            self.change(region.clone(), what, rest);
        }
        self.chain.push((region, lets));
        for side in [&i.left, &i.right] {
            if matches!(**side, Expr::Binary(_)) {
                self.visit_expr(side);
            } else {
                let chain = std::mem::take(&mut self.chain);
                self.visit_expr(side);
                self.chain = chain;
            }
        }
        self.chain.pop();
    }

    fn visit_expr_unary(&mut self, i: &'ast syn::ExprUnary) {
        let found = self.take("UnaryOperator", &i.op);
        self.change(i.span().byte_range(), i.op.span().byte_range(), found);
        visit::visit_expr_unary(self, i);
    }

    fn visit_expr_struct(&mut self, i: &'ast syn::ExprStruct) {
        for field in &i.fields {
            let found = self.take("StructField", field);
            let mut what = field.span().byte_range();
            let comma = self.source[what.end..].find(',').map_or(0, |at| at + 1);
            what.end += comma;
            self.change(i.span().byte_range(), what, found);
        }
        visit::visit_expr_struct(self, i);
    }

    fn visit_arm(&mut self, i: &'ast syn::Arm) {
        let taken = self.take("MatchArm", i);
        match &i.guard {
            Some((_, guard)) if !has_let(guard) => {
                let region = guard.span().byte_range();
                let never = taken.into_iter().map(|(n, _)| (n, "false".to_owned()));
                let never = never.collect();
                self.change(region.clone(), region.clone(), never);
                let found = self.take("MatchArmGuard", guard);
                self.change(region.clone(), region, found);
            }
            Some(_) => {}
            None => {
                let never = taken
                    .into_iter()
                    .map(|(n, _)| (n, format!(" if !{}", on(n))));
                self.insert(i.pat.span().byte_range().end, never.collect());
            }
        }
        visit::visit_arm(self, i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Span;

    /// Places one mutant, the `n`th `what` of the text.
    fn placed(source: &str, genre: &str, what: &str, n: usize, by: &str) -> Placed {
        let at = source.match_indices(what).nth(n).unwrap().0;
        let line = source[..at].matches('\n').count() + 1;
        let column = at - source[..at].rfind('\n').map_or(0, |end| end + 1) + 1;
        let mutant = Mutant {
            file: String::new(),
            name: String::new(),
            genre: genre.to_owned(),
            replacement: by.to_owned(),
            span: Span {
                start: Point { line, column },
            },
        };
        Placed::find(source.to_owned(), &[(7, &mutant)]).unwrap()
    }

    fn text(source: &str, genre: &str, what: &str, n: usize, by: &str) -> String {
        let placed = placed(source, genre, what, n, by);
        assert_eq!(placed.text(&HashSet::from([7])), source, "left out");
        assert!(placed.unplaced.is_empty());
        placed.text(&HashSet::new())
    }

    const ON: &str = "crate::switch::on(7)";

    #[test]
    fn an_operator_is_changed_where_it_stands() {
        assert_eq!(
            text(
                "fn f() -> u8 { a(1) - 2 - 3 }",
                "BinaryOperator",
                "-",
                2,
                "+"
            ),
            format!("fn f() -> u8 {{ (if {ON} {{ a(1) - 2 + 3 }} else {{ a(1) - 2 - 3 }}) }}")
        );
        assert_eq!(
            text(
                "fn f() -> u8 { a(1) - 2 - 3 }",
                "BinaryOperator",
                "-",
                1,
                "+"
            ),
            format!("fn f() -> u8 {{ (if {ON} {{ a(1) + 2 }} else {{ a(1) - 2 }}) - 3 }}")
        );
    }

    #[test]
    fn an_operator_that_binds_otherwise_takes_the_whole_chain() {
        let source = "fn f() { g(a && b && c) }";
        assert_eq!(
            text(source, "BinaryOperator", "&&", 0, "||"),
            format!("fn f() {{ g((if {ON} {{ a || b && c }} else {{ a && b && c }})) }}")
        );
    }

    #[test]
    fn arms_guards_fields_and_values() {
        let source = "fn f() { match x { 1 => a, n if n > 2 => b, _ => c } }";
        assert_eq!(
            text(source, "MatchArm", "1 =>", 0, ""),
            format!("fn f() {{ match x {{ 1 if !{ON} => a, n if n > 2 => b, _ => c }} }}")
        );
        assert_eq!(
            text(source, "MatchArmGuard", "n > 2", 0, "true"),
            format!(
                "fn f() {{ match x {{ 1 => a, n if (if {ON} {{ true }} else {{ n > 2 }}) => b, _ => c }} }}"
            )
        );
        assert_eq!(
            text(source, "FnValue", "match", 0, "9"),
            format!("fn f() {{ if {ON} {{ return 9; }} {} }}", &source[9..52])
        );
        assert_eq!(
            text("fn f() { S { a: 1, ..b } }", "StructField", "a: 1", 0, ""),
            format!("fn f() {{ (if {ON} {{ S {{  ..b }} }} else {{ S {{ a: 1, ..b }} }}) }}")
        );
        assert_eq!(
            text("fn f() { g(!a.b) }", "UnaryOperator", "!", 0, ""),
            format!("fn f() {{ g((if {ON} {{ a.b }} else {{ !a.b }})) }}")
        );
    }

    #[test]
    fn what_the_compiler_evaluates_cannot_ask() {
        for source in ["const A: u8 = 1 + 2;", "const fn f() -> u8 { 1 + 2 }"] {
            let placed = placed(source, "BinaryOperator", "+", 0, "-");
            assert_eq!(placed.unplaced, HashSet::from([7]));
            assert_eq!(placed.text(&HashSet::new()), source);
        }
    }

    #[test]
    fn a_mutant_that_does_not_compile_is_found_by_the_place_of_the_error() {
        let text = "a crate::switch::on(3) b crate::switch::on(14) c if !crate::switch::on(15) d";
        let at = |what| text.find(what).unwrap();
        assert_eq!(number_before(text, at("a")), None);
        assert_eq!(number_before(text, at("b ")), Some(3));
        assert_eq!(number_before(text, at(" c ")), Some(14));
        assert_eq!(arm_after(text, 0, &HashSet::new()), Some(15));
        assert_eq!(arm_after(text, 0, &HashSet::from([15])), None);
    }
}
