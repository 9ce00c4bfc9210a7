//! The tables of `docs/WIRE.md`, made from the declarations of the agent.
//!
//! The codec of a type is derived from its declaration, so a page that is made
//! from the same declarations cannot say anything else.

use std::collections::BTreeMap;
use std::path::Path;
use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// Adds a line.
macro_rules! line {
    ($out:expr, $($words:tt)*) => {
        $out.push_str(&(format!($($words)*) + "\n"))
    };
}

/// Where the generated part of the page begins and ends.
pub const BEGIN: &str = "<!-- made by: cargo run -p nrd-tests --bin wire_tables -- --write -->";
/// As [`BEGIN`].
pub const END: &str = "<!-- end of what is made -->";

/// The page.
pub const PAGE: &str = "docs/WIRE.md";

/// The declarations, in the order of the page, under their headings.
const SOURCES: [(&str, &str); 7] = [
    ("Request and reply", "agent/src/wire/message.rs"),
    ("Signed objects", "agent/src/wire/object.rs"),
    ("Small types", "agent/src/wire/types.rs"),
    ("Messages of a storage check", "agent/src/wire/storage.rs"),
    ("Records of the journal", "agent/src/state.rs"),
    ("The lease in a record", "agent/src/lease.rs"),
    ("The orders in a record", "agent/src/order.rs"),
];

/// A type with an encoding.
struct Declared {
    source: usize,
    doc: String,
    frame: Option<Frame>,
    shape: Shape,
}

struct Frame {
    context: String,
    max: usize,
    signed: bool,
}

enum Shape {
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

struct Field {
    name: String,
    ty: Type,
    /// Bound of a byte string, and the frame that it holds where it does.
    max: Option<Expr>,
    doc: String,
}

struct Variant {
    name: String,
    word: Option<String>,
    doc: String,
    fields: Vec<Field>,
}

/// How a type is written: in words, and in how many bytes.
struct Encoding {
    words: String,
    min: usize,
    max: usize,
}

/// Every declaration, by name.
pub struct Tables {
    order: Vec<String>,
    types: BTreeMap<String, Declared>,
    constants: BTreeMap<String, usize>,
}

impl Tables {
    /// Reads the declarations of the repository at `root`.
    pub fn read(root: &Path) -> Tables {
        let mut tables = Tables {
            order: Vec::new(),
            types: BTreeMap::new(),
            constants: BTreeMap::new(),
        };
        tables
            .constants
            .insert("MAX_FRAME".into(), nrd_agent::wire::MAX_FRAME);
        for (source, (_, path)) in SOURCES.iter().enumerate() {
            let text = std::fs::read_to_string(root.join(path)).unwrap();
            for item in syn::parse_file(&text).unwrap().items {
                tables.take(source, item);
            }
        }
        tables
    }

    fn take(&mut self, source: usize, item: Item) {
        match item {
            Item::Const(c) => {
                if let Some(n) = integer(&c.expr) {
                    self.constants.insert(c.ident.to_string(), n);
                }
            }
            Item::Struct(s) if derives(&s.attrs, "Wire") => {
                let declared = Declared {
                    source,
                    doc: doc(&s.attrs),
                    frame: self.frame(&s.attrs),
                    shape: Shape::Struct(fields(&s.fields)),
                };
                self.add(s.ident.to_string(), declared);
            }
            Item::Enum(e) if derives(&e.attrs, "Wire") => {
                let named = derives(&e.attrs, "Named");
                let variant = |v: &syn::Variant| Variant {
                    name: v.ident.to_string(),
                    word: named.then(|| word(v)),
                    doc: doc(&v.attrs),
                    fields: fields(&v.fields),
                };
                let declared = Declared {
                    source,
                    doc: doc(&e.attrs),
                    frame: None,
                    shape: Shape::Enum(e.variants.iter().map(variant).collect()),
                };
                self.add(e.ident.to_string(), declared);
            }
            _ => {}
        }
    }

    fn add(&mut self, name: String, declared: Declared) {
        self.order.push(name.clone());
        assert!(self.types.insert(name, declared).is_none());
    }

    /// What `#[wire(frame = …, max = …, unsigned)]` says.
    fn frame(&self, attributes: &[Attribute]) -> Option<Frame> {
        let mut frame = Frame {
            context: String::new(),
            max: 0,
            signed: true,
        };
        for attribute in attributes.iter().filter(|a| a.path().is_ident("wire")) {
            attribute
                .parse_nested_meta(|meta| {
                    if meta.path.is_ident("frame") {
                        frame.context = meta.value()?.parse::<syn::LitStr>()?.value();
                    } else if meta.path.is_ident("max") {
                        frame.max = self.length(&meta.value()?.parse()?).0;
                    } else {
                        frame.signed = false;
                    }
                    Ok(())
                })
                .unwrap();
        }
        (!frame.context.is_empty()).then_some(frame)
    }

    /// A length in an attribute: a number, a constant, or the bound of a frame,
    /// whose type is then named.
    fn length(&self, expr: &Expr) -> (usize, Option<&Frame>) {
        if let Some(n) = integer(expr) {
            return (n, None);
        }
        let Expr::Path(path) = expr else {
            panic!("a length that is no number, constant or bound")
        };
        let names: Vec<String> = path
            .path
            .segments
            .iter()
            .map(|s| s.ident.to_string())
            .collect();
        match names.as_slice() {
            [constant] => (self.constants[constant], None),
            [of, max] if max == "MAX" => {
                let frame = self.types[of].frame.as_ref().unwrap();
                (frame.max, Some(frame))
            }
            _ => panic!("{names:?} is no length"),
        }
    }

    fn encoding(&self, ty: &Type, bound: Option<&Expr>) -> Encoding {
        let of = |words: &str, min, max| Encoding {
            words: words.into(),
            min,
            max,
        };
        match ty {
            Type::Array(array) => {
                let n = self.length(&array.len).0;
                of(&bytes(n), n, n)
            }
            Type::Reference(_) => {
                let (max, frame) = self.length(bound.expect("a bound"));
                let words = frame.map_or_else(
                    || format!("block, at most {max}"),
                    |f| format!("block: a `{}` frame, at most {max}", f.context),
                );
                of(&words, 1, varint(max as u64) + max)
            }
            Type::Tuple(parts) => {
                let all: Vec<Encoding> =
                    parts.elems.iter().map(|t| self.encoding(t, None)).collect();
                let words: Vec<&str> = all.iter().map(|e| e.words.as_str()).collect();
                let (min, max) = (
                    all.iter().map(|e| e.min).sum(),
                    all.iter().map(|e| e.max).sum(),
                );
                of(&words.join(", then "), min, max)
            }
            Type::Path(path) => {
                let last = path.path.segments.last().unwrap();
                let name = last.ident.to_string();
                let argument = match &last.arguments {
                    PathArguments::AngleBracketed(a) => a.args.first(),
                    _ => None,
                };
                match (name.as_str(), argument) {
                    ("u8", _) => of("byte", 1, 1),
                    ("bool", _) => of("boolean", 1, 1),
                    ("u16", _) => of("varint u16", 1, varint(u16::MAX.into())),
                    ("u32", _) => of("varint u32", 1, varint(u32::MAX.into())),
                    ("u64", _) => of("varint u64", 1, varint(u64::MAX)),
                    ("Digest", _) => of("32 bytes", 32, 32),
                    ("DeviceId", _) => of("device id", 2, 33),
                    ("String", Some(GenericArgument::Const(n))) => {
                        let n = integer(n).expect("a number");
                        of(&format!("text, at most {n}"), 1, varint(n as u64) + n)
                    }
                    ("Option", Some(GenericArgument::Type(inner))) => {
                        let inner = self.encoding(inner, bound);
                        of(&format!("option: {}", inner.words), 1, 1 + inner.max)
                    }
                    _ => self.declared(&name),
                }
            }
            _ => panic!("a type without an encoding"),
        }
    }

    /// The longest body of a declared type, in bytes.
    pub fn longest(&self, name: &str) -> usize {
        self.declared(name).max
    }

    /// The words of an enum, in the order of its numbers.
    pub fn words_of(&self, name: &str) -> Vec<&str> {
        match &self.types[name].shape {
            Shape::Enum(variants) => variants.iter().filter_map(|v| v.word.as_deref()).collect(),
            Shape::Struct(_) => Vec::new(),
        }
    }

    fn declared(&self, name: &str) -> Encoding {
        let Some(declared) = self.types.get(name) else {
            panic!("{name} is declared nowhere")
        };
        let sum = |fields: &[Field]| {
            let all: Vec<Encoding> = fields
                .iter()
                .map(|f| self.encoding(&f.ty, f.max.as_ref()))
                .collect();
            let min: usize = all.iter().map(|e| e.min).sum();
            let max: usize = all.iter().map(|e| e.max).sum();
            (min, max)
        };
        match &declared.shape {
            // A type of its own for the compiler; on the wire what is in it.
            Shape::Struct(fields) if newtype(fields) => {
                let inner = self.encoding(&fields[0].ty, None);
                Encoding {
                    words: format!("{} ({name})", inner.words),
                    ..inner
                }
            }
            Shape::Struct(fields) => {
                let (min, max) = sum(fields);
                Encoding {
                    words: link(name),
                    min,
                    max,
                }
            }
            Shape::Enum(variants) => {
                let lengths: Vec<(usize, usize)> =
                    variants.iter().map(|v| sum(&v.fields)).collect();
                Encoding {
                    words: link(name),
                    min: 1 + lengths.iter().map(|l| l.0).min().unwrap_or(0),
                    max: 1 + lengths.iter().map(|l| l.1).max().unwrap_or(0),
                }
            }
        }
    }

    /// The generated part of the page, markers included.
    pub fn markdown(&self) -> String {
        let mut out = format!("{BEGIN}\n\n## Frames\n\n");
        out += "| type | bytes that open it | longest, in bytes | signature | longest body |\n";
        out += "|---|---|---:|---|---:|\n";
        for name in &self.order {
            let Some(frame) = &self.types[name].frame else {
                continue;
            };
            let signature = if frame.signed { "64 bytes" } else { "none" };
            let body = self.declared(name).max;
            line!(
                out,
                "| {} | `{}` 0x00 | {} | {signature} | {body} |",
                link(name),
                frame.context,
                frame.max
            );
        }
        for (source, (heading, _)) in SOURCES.iter().enumerate() {
            line!(out, "\n## {heading}");
            for name in &self.order {
                let declared = &self.types[name];
                if declared.source == source {
                    self.section(&mut out, name, declared);
                }
            }
        }
        line!(out, "\n{END}");
        out
    }

    fn section(&self, out: &mut String, name: &str, declared: &Declared) {
        match &declared.shape {
            Shape::Struct(fields) if newtype(fields) => {
                let encoding = self.encoding(&fields[0].ty, None);
                line!(
                    out,
                    "\n### {name}\n\n{} Written as: {}.",
                    declared.doc,
                    encoding.words
                );
            }
            Shape::Struct(fields) => {
                let sizes = sizes(&self.declared(name));
                line!(out, "\n### {name}\n\n{} {sizes}\n", declared.doc);
                *out += "| field | written as | bytes | meaning |\n|---|---|---|---|\n";
                for field in fields {
                    self.row(out, field);
                }
            }
            Shape::Enum(variants) => {
                let sizes = sizes(&self.declared(name));
                line!(out, "\n### {name}\n\n{} {sizes}\n", declared.doc);
                if variants.iter().all(|v| v.fields.is_empty()) {
                    Self::words(out, variants);
                } else {
                    self.variants(out, variants);
                }
            }
        }
    }

    /// An enum without fields.
    fn words(out: &mut String, variants: &[Variant]) {
        *out += "| number | name | word in files and databases | meaning |\n|---:|---|---|---|\n";
        for (n, v) in variants.iter().enumerate() {
            let word = v
                .word
                .as_deref()
                .map_or(String::new(), |w| format!("`{w}`"));
            line!(out, "| {n} | `{}` | {word} | {} |", v.name, v.doc);
        }
    }

    /// An enum with fields.
    fn variants(&self, out: &mut String, variants: &[Variant]) {
        *out += "| number, field | written as | bytes | meaning |\n|---|---|---|---|\n";
        for (n, v) in variants.iter().enumerate() {
            let all: Vec<Encoding> = v
                .fields
                .iter()
                .map(|f| self.encoding(&f.ty, f.max.as_ref()))
                .collect();
            let whole = Encoding {
                words: String::new(),
                min: 1 + all.iter().map(|e| e.min).sum::<usize>(),
                max: 1 + all.iter().map(|e| e.max).sum::<usize>(),
            };
            line!(
                out,
                "| **{n} `{}`** | byte {n:#04x}{} | {} | {} |",
                v.name,
                if all.is_empty() { "" } else { ", then" },
                range(&whole),
                v.doc
            );
            for field in &v.fields {
                self.row(out, field);
            }
        }
    }

    fn row(&self, out: &mut String, field: &Field) {
        let encoding = self.encoding(&field.ty, field.max.as_ref());
        line!(
            out,
            "| `{}` | {} | {} | {} |",
            field.name,
            encoding.words,
            range(&encoding),
            field.doc
        );
    }
}

/// The page at `root` with its generated part made anew.
pub fn page(root: &Path) -> String {
    let kept = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let (before, rest) = kept.split_once(BEGIN).expect("the page has its mark");
    let (_, after) = rest.split_once(END).expect("the page has its end mark");
    let made = Tables::read(root).markdown();
    format!("{before}{}{after}", made.trim_end())
}

fn newtype(fields: &[Field]) -> bool {
    matches!(fields, [only] if only.name == "0")
}

fn fields(fields: &Fields) -> Vec<Field> {
    let field = |(n, f): (usize, &syn::Field)| Field {
        name: f.ident.as_ref().map_or(n.to_string(), ToString::to_string),
        ty: f.ty.clone(),
        max: bound(&f.attrs),
        doc: doc(&f.attrs),
    };
    fields.iter().enumerate().map(field).collect()
}

/// `#[wire(max = …)]` of a field.
fn bound(attributes: &[Attribute]) -> Option<Expr> {
    let mut max = None;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("wire")) {
        attribute
            .parse_nested_meta(|meta| {
                max = Some(meta.value()?.parse()?);
                Ok(())
            })
            .unwrap();
    }
    max
}

fn derives(attributes: &[Attribute], what: &str) -> bool {
    attributes.iter().any(|a| {
        let mut found = false;
        if a.path().is_ident("derive") {
            a.parse_nested_meta(|meta| {
                found |= meta.path.segments.last().is_some_and(|s| s.ident == what);
                Ok(())
            })
            .unwrap();
        }
        found
    })
}

/// The first paragraph of a doc comment, without the links of rustdoc.
fn doc(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        let Meta::NameValue(meta) = &attribute.meta else {
            continue;
        };
        if !meta.path.is_ident("doc") {
            continue;
        }
        let Expr::Lit(syn::ExprLit {
            lit: Lit::Str(line),
            ..
        }) = &meta.value
        else {
            continue;
        };
        let line = line.value();
        if line.trim().is_empty() {
            break;
        }
        text += line.trim();
        text.push(' ');
    }
    let text = text.trim().replace("[`super::", "[`");
    without_links(&text).replace('|', "\\|")
}

/// `[`Name`]` and `[`Name`](path)` become `Name` in code.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        out += before;
        let Some((name, after)) = link.split_once("`]") else {
            out += "[`";
            rest = link;
            continue;
        };
        out += &format!("`{}`", name.replace("Self::", ""));
        rest = match after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    out + rest
}

/// The word of a variant, as `#[derive(Named)]` makes it.
fn word(variant: &syn::Variant) -> String {
    for attribute in &variant.attrs {
        if attribute.path().is_ident("named") {
            return attribute.parse_args::<syn::LitStr>().unwrap().value();
        }
    }
    let mut word = String::new();
    for c in variant.ident.to_string().chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(c.to_lowercase());
    }
    word
}

fn integer(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Lit(syn::ExprLit {
            lit: Lit::Int(n), ..
        }) => n.base10_parse().ok(),
        _ => None,
    }
}

fn varint(value: u64) -> usize {
    nrd_agent::wire::codec::varint_len(value)
}

fn bytes(n: usize) -> String {
    format!("{n} bytes")
}

/// The sizes, as a sentence of their own.
fn sizes(encoding: &Encoding) -> String {
    match range(encoding).as_str() {
        "1" => "1 byte.".into(),
        range => format!("{range} bytes."),
    }
}

fn range(encoding: &Encoding) -> String {
    match (encoding.min, encoding.max) {
        (min, max) if min == max => max.to_string(),
        (min, max) => format!("{min} to {max}"),
    }
}

fn link(name: &str) -> String {
    format!("[{name}](#{})", name.to_lowercase())
}
