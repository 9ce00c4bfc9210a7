//! Derives for the wire types of `nrd-agent`: a type's fields and variants are
//! listed once, where it is declared.
//!
//! | derive | generates | from |
//! |---|---|---|
//! | [`macro@Wire`] | `Code`, `Blank`, `Bounded`, and `Body` for a frame | the fields in order, the variants in order |
//! | [`macro@Named`] | `ALL`, `name()`, `from_name()` | the names of the variants |
//!
//! The counts and variant numbers of the codec were written by hand before, in
//! a second list; a wrong count made a good value fail with `BufferTooSmall`.
//! Nothing is counted by hand here, and what cannot be encoded does not compile.

mod named;
mod wire;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives the codec of a struct or an enum.
///
/// A struct is encoded as its fields in order. An enum is encoded as the number
/// of its variant (the first is 0) and then that variant's fields. Reading an
/// unknown number fails.
///
/// | attribute | where | meaning |
/// |---|---|---|
/// | `#[wire(max = N)]` | a field of type `&[u8]` or `Option<&[u8]>` | longest byte string in this field, in bytes: it has no bound of its own |
/// | `#[wire(frame = "nrd/1/x", max = N)]` | a struct | the body of a frame: the type name that opens it, and its limit in bytes, signature included |
/// | `unsigned` beside `frame` | a struct | this frame carries no signature |
///
/// ```
/// use nrd_agent::wire::codec::{self, Bounded, Wire};
///
/// #[derive(Debug, PartialEq, Wire)]
/// enum Signal {
///     Off,
///     On { level: u16 },
/// }
///
/// let mut out = [0; Signal::MAX_LEN];
/// let n = codec::write(b"", &Signal::On { level: 300 }, &mut out).unwrap();
/// assert_eq!(out[..n], [1, 0xAC, 0x02]);
/// assert_eq!(codec::read(&out[..n]), Some(Signal::On { level: 300 }));
/// // There is no variant 2.
/// assert_eq!(codec::read::<Signal>(&[2]), None);
/// ```
///
/// A byte string without a bound does not compile:
///
/// ```compile_fail
/// #[derive(nrd_agent::wire::codec::Wire)]
/// struct Letter<'a> {
///     text: &'a [u8],
/// }
/// ```
///
/// Nor does a frame that may outgrow its own limit (33 + 11 + 64 bytes here):
///
/// ```compile_fail
/// #[derive(nrd_agent::wire::codec::Wire)]
/// #[wire(frame = "nrd/1/note", max = 100)]
/// struct Note {
///     digest: [u8; 33],
/// }
/// ```
#[proc_macro_derive(Wire, attributes(wire))]
pub fn derive_wire(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    wire::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Derives a stable word for each variant of an enum without fields.
///
/// The word is the variant's name in lower case with hyphens (`SetTopBox` is
/// `set-top-box`), or what `#[named("…")]` says. Databases, metrics and files
/// hold these words: to change one is to change their format.
///
/// ```
/// use nrd_agent::wire::DeviceKind;
///
/// assert_eq!(DeviceKind::SetTopBox.name(), "set-top-box");
/// assert_eq!(DeviceKind::from_name("console"), Some(DeviceKind::Console));
/// assert_eq!(DeviceKind::from_name("toaster"), None);
/// assert_eq!(DeviceKind::ALL.len(), 3);
/// ```
#[proc_macro_derive(Named, attributes(named))]
pub fn derive_named(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    named::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
