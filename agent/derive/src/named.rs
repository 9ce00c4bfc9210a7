//! `#[derive(Named)]`.

use proc_macro2::TokenStream;
use quote::quote;
use std::collections::BTreeSet;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Result, Variant};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(input, "only an enum has names"));
    };
    let name = &input.ident;
    let mut variants = Vec::new();
    let mut words = Vec::new();
    let mut taken = BTreeSet::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            let why = "a variant with fields cannot be made from its name";
            return Err(Error::new_spanned(variant, why));
        }
        let word = word(variant)?;
        if !taken.insert(word.clone()) {
            return Err(Error::new_spanned(variant, "two variants of one name"));
        }
        variants.push(&variant.ident);
        words.push(word);
    }
    Ok(quote! {
        impl #name {
            /// Every variant, in the order of their declaration.
            pub const ALL: &'static [Self] = &[#(Self::#variants),*];

            /// The stable word for this variant, as databases and files hold it.
            pub const fn name(self) -> &'static str {
                match self {
                    #(Self::#variants => #words,)*
                }
            }

            /// The variant of this word; `None` for any other word.
            pub fn from_name(name: &str) -> ::core::option::Option<Self> {
                match name {
                    #(#words => ::core::option::Option::Some(Self::#variants),)*
                    _ => ::core::option::Option::None,
                }
            }
        }
    })
}

/// The word of `#[named("…")]`, or the variant's name in lower case with
/// hyphens.
fn word(variant: &Variant) -> Result<String> {
    for attribute in &variant.attrs {
        if attribute.path().is_ident("named") {
            return Ok(attribute.parse_args::<LitStr>()?.value());
        }
    }
    let mut word = String::new();
    for c in variant.ident.to_string().chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(c.to_lowercase());
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn refused(input: &DeriveInput) -> String {
        expand(input).unwrap_err().to_string()
    }

    #[test]
    fn words_are_lower_case_with_hyphens_unless_another_is_given() {
        let word = |v: Variant| word(&v).unwrap();
        assert_eq!(word(parse_quote!(SetTopBox)), "set-top-box");
        assert_eq!(word(parse_quote!(Clear)), "clear");
        let given = word(parse_quote!(
            #[named("already applied")]
            AlreadyApplied
        ));
        assert_eq!(given, "already applied");
    }

    #[test]
    fn two_variants_of_one_name_do_not_compile() {
        let input = parse_quote! {
            enum Kind { Console, #[named("console")] Game }
        };
        assert_eq!(refused(&input), "two variants of one name");
    }

    #[test]
    fn a_variant_with_fields_has_no_name() {
        let input = parse_quote!(
            enum Kind {
                Console(u8),
            }
        );
        assert!(refused(&input).contains("cannot be made"));
    }
}
