//! `#[derive(Wire)]`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Field, Fields, GenericParam, Index, Lifetime, Lit,
    LitStr, Member, Result, Type, Variant, parse_quote,
};

/// What a `wire` attribute says.
#[derive(Default)]
struct Attributes {
    frame: Option<LitStr>,
    max: Option<Expr>,
    unsigned: bool,
}

impl Attributes {
    fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Attributes::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("wire")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("frame") {
                    read.frame = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("max") {
                    read.max = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("unsigned") {
                    read.unsigned = true;
                } else {
                    return Err(meta.error("expected `frame`, `max` or `unsigned`"));
                }
                Ok(())
            })?;
        }
        Ok(read)
    }
}

/// The generated parts of a type.
struct Passes {
    write: TokenStream,
    read: TokenStream,
    blank: TokenStream,
    max_len: TokenStream,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::read(&input.attrs)?;
    let passes = match &input.data {
        Data::Struct(data) => of_struct(&data.fields)?,
        Data::Enum(data) => of_enum(input, &data.variants.iter().collect::<Vec<_>>())?,
        Data::Union(_) => return Err(Error::new_spanned(input, "a union has no encoding")),
    };
    let Passes {
        write,
        read,
        blank,
        max_len,
    } = passes;
    let name = &input.ident;
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    // What a value borrows, it borrows from the bytes that it was read from.
    let life = lifetime(input)?;
    let body = body(input, &attributes, &life)?;
    Ok(quote! {
        #[automatically_derived]
        impl<#life> ::nrd_agent::wire::codec::Code<#life> for #name #type_generics {
            fn write(&self, writer: &mut ::nrd_agent::wire::codec::Writer<'_>) {
                #write
            }
            fn read(&mut self, reader: &mut ::nrd_agent::wire::codec::Reader<#life>) {
                #read
            }
        }
        #[automatically_derived]
        impl #impl_generics ::nrd_agent::wire::codec::Blank for #name #type_generics {
            const BLANK: Self = #blank;
        }
        #[automatically_derived]
        impl #impl_generics ::nrd_agent::wire::codec::Bounded for #name #type_generics {
            const MAX_LEN: usize = #max_len;
        }
        #body
    })
}

/// The lifetime of the one thing that a type may borrow: its frame.
fn lifetime(input: &DeriveInput) -> Result<Lifetime> {
    let mut found = None;
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(l) if found.is_none() => found = Some(l.lifetime.clone()),
            other => {
                let why = "a wire type has one lifetime at most, and no other parameter";
                return Err(Error::new_spanned(other, why));
            }
        }
    }
    Ok(found.unwrap_or(parse_quote!('wire)))
}

/// `Body` for a struct that opens a frame, and the proof that it fits.
fn body(input: &DeriveInput, attributes: &Attributes, life: &Lifetime) -> Result<TokenStream> {
    let name = &input.ident;
    let (frame, max) = match (&attributes.frame, &attributes.max) {
        (None, None) if !attributes.unsigned => return Ok(TokenStream::new()),
        (Some(frame), Some(max)) => (frame, max),
        _ => {
            let why = "a frame has `frame` and `max`; other types have neither";
            return Err(Error::new_spanned(name, why));
        }
    };
    let context = syn::LitByteStr::new(format!("{}\0", frame.value()).as_bytes(), frame.span());
    let signature = if attributes.unsigned {
        quote!(0)
    } else {
        quote!(::nrd_agent::wire::SIGNATURE_LEN)
    };
    let (_, type_generics, _) = input.generics.split_for_impl();
    let longer = format!("a {name} may be longer than its frame");
    Ok(quote! {
        #[automatically_derived]
        impl<#life> ::nrd_agent::wire::Body<#life> for #name #type_generics {
            const CONTEXT: &'static [u8] = #context;
            const MAX: usize = #max;
        }
        const _: () = {
            use ::nrd_agent::wire::{Body, MAX_FRAME, codec::Bounded};
            let longest = <#name as Body>::CONTEXT.len() + <#name as Bounded>::MAX_LEN + #signature;
            ::core::assert!(longest <= <#name as Body>::MAX, #longer);
            ::core::assert!(<#name as Body>::MAX <= MAX_FRAME);
        };
    })
}

fn of_struct(fields: &Fields) -> Result<Passes> {
    let members: Vec<Member> = fields.members().collect();
    let lengths = fields.iter().map(length).collect::<Result<Vec<_>>>()?;
    Ok(Passes {
        write: quote!(#(::nrd_agent::wire::codec::Code::write(&self.#members, writer);)*),
        read: quote!(#(::nrd_agent::wire::codec::Code::read(&mut self.#members, reader);)*),
        blank: quote!(Self { #(#members: ::nrd_agent::wire::codec::Blank::BLANK),* }),
        max_len: quote!(0 #(+ #lengths)*),
    })
}

fn of_enum(input: &DeriveInput, variants: &[&Variant]) -> Result<Passes> {
    // More than 127 would need a second byte of their varint.
    if variants.is_empty() || variants.len() > 0x7F {
        let why = "an enum on the wire has 1 to 127 variants";
        return Err(Error::new_spanned(&input.ident, why));
    }
    let mut writes = TokenStream::new();
    let mut reads = TokenStream::new();
    let mut blanks = Vec::new();
    let mut longest = Vec::new();
    for (number, variant) in variants.iter().enumerate() {
        check_discriminant(number, variant)?;
        let name = &variant.ident;
        // `{ 0: x }` names a field of a tuple, `{}` serves a variant without
        // fields: one form for all three.
        let members: Vec<Member> = variant.fields.members().collect();
        let fields: Vec<Ident> = (0..members.len())
            .map(|n| format_ident!("field_{n}"))
            .collect();
        let lengths = variant
            .fields
            .iter()
            .map(length)
            .collect::<Result<Vec<_>>>()?;
        let number = Index::from(number);
        let pattern = quote!(Self::#name { #(#members: #fields),* });
        let blank = quote!(Self::#name { #(#members: ::nrd_agent::wire::codec::Blank::BLANK),* });
        writes.extend(quote! {
            #pattern => {
                writer.variant(#number);
                #(::nrd_agent::wire::codec::Code::write(#fields, writer);)*
            }
        });
        let read_fields = (!members.is_empty()).then(|| {
            quote! {
                if let #pattern = self {
                    #(::nrd_agent::wire::codec::Code::read(#fields, reader);)*
                }
            }
        });
        reads.extend(quote! {
            #number => {
                *self = #blank;
                #read_fields
            }
        });
        blanks.push(blank);
        longest.push(quote!(1 #(+ #lengths)*));
    }
    let plain = variants.iter().all(|v| v.fields.is_empty());
    let read = if plain {
        // A row of values is shorter than a branch for each.
        quote! {
            match [#(#blanks),*].get(usize::from(reader.variant())) {
                Some(value) => *self = *value,
                None => reader.fail(),
            }
        }
    } else {
        quote! {
            match reader.variant() {
                #reads
                _ => reader.fail(),
            }
        }
    };
    let first = blanks.first();
    Ok(Passes {
        write: quote!(match self { #writes }),
        read,
        blank: quote!(#first),
        max_len: quote!(::nrd_agent::wire::codec::longest(&[#(#longest),*])),
    })
}

/// postcard numbers variants by their place, whatever their discriminant is:
/// where one is written down, both must agree.
fn check_discriminant(number: usize, variant: &Variant) -> Result<()> {
    let Some((_, given)) = &variant.discriminant else {
        return Ok(());
    };
    let same = match given {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(given) => given.base10_parse::<usize>()? == number,
            _ => false,
        },
        _ => false,
    };
    if same {
        return Ok(());
    }
    let why = format!("on the wire this variant has the number of its place: {number}");
    Err(Error::new(given.span(), why))
}

/// The longest encoding of a field.
fn length(field: &Field) -> Result<TokenStream> {
    let attributes = Attributes::read(&field.attrs)?;
    if attributes.frame.is_some() || attributes.unsigned {
        return Err(Error::new_spanned(field, "a field is no frame"));
    }
    let of = &field.ty;
    Ok(match attributes.max {
        None => quote!(<#of as ::nrd_agent::wire::codec::Bounded>::MAX_LEN),
        Some(max) => {
            let tag = usize::from(is_option(of));
            quote!(#tag + ::nrd_agent::wire::codec::block_len(#max))
        }
    })
}

fn is_option(of: &Type) -> bool {
    match of {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|s| s.ident == "Option"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(input: &DeriveInput) -> String {
        expand(input).unwrap_err().to_string()
    }

    #[test]
    fn a_discriminant_that_is_not_the_variants_place_does_not_compile() {
        let good: DeriveInput = parse_quote!(
            enum Kind {
                First = 0,
                Second,
                Third = 2,
            }
        );
        expand(&good).unwrap();
        let bad = parse_quote!(
            enum Kind {
                First = 0,
                Second = 2,
            }
        );
        assert!(refused(&bad).ends_with("place: 1"));
        let computed = parse_quote!(
            enum Kind {
                First = ZERO,
            }
        );
        assert!(refused(&computed).ends_with("place: 0"));
    }

    #[test]
    fn an_enum_has_a_variant_and_no_more_than_a_byte_can_number() {
        let empty = parse_quote!(
            enum Kind {}
        );
        assert!(refused(&empty).contains("1 to 127"));
        let variants = |n| (0..n).map(|n| format_ident!("V{n}")).collect::<Vec<_>>();
        let (most, more) = (variants(127), variants(128));
        expand(&parse_quote!(enum Kind { #(#most),* })).unwrap();
        assert!(refused(&parse_quote!(enum Kind { #(#more),* })).contains("1 to 127"));
    }

    #[test]
    fn a_frame_states_its_limit() {
        let input = parse_quote!(
            #[wire(frame = "nrd/1/note")]
            struct Note {
                n: u8,
            }
        );
        assert!(refused(&input).contains("`frame` and `max`"));
        let input = parse_quote!(
            #[wire(unsigned)]
            struct Note {
                n: u8,
            }
        );
        assert!(refused(&input).contains("`frame` and `max`"));
    }

    #[test]
    fn an_unknown_attribute_does_not_compile() {
        let input = parse_quote!(
            struct Note {
                #[wire(skip)]
                n: u8,
            }
        );
        assert!(refused(&input).contains("expected"));
    }

    #[test]
    fn type_parameters_are_refused() {
        let input = parse_quote!(
            struct Note<T> {
                n: T,
            }
        );
        assert!(refused(&input).contains("one lifetime"));
    }
}
