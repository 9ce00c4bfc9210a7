//! Sample accounts from a readable file.

use crate::FileError;
use nrd_agent::Class;
use serde::Deserialize;
use std::path::Path;

/// The file that comes with the program.
pub const BUILT_IN: &str = include_str!("../data/accounts.toml");

/// A file of account holders.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// The account holders.
    #[serde(rename = "account", default)]
    pub accounts: Vec<Sample>,
}

/// One account holder. No `Debug`: all of it is personal.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// E-mail address: the login.
    pub email: String,
    /// Password.
    pub password: String,
    /// First name or nickname.
    pub name: String,
    /// Name on the bill.
    pub full_name: String,
    /// Postal address.
    pub address: String,
    /// Payment method.
    pub payment: String,
    /// Telephone number.
    pub telephone: String,
    /// Profiles of the account.
    pub profiles: Vec<String>,
    /// What was watched, rated, listed; one entry a line.
    pub activity: Vec<String>,
}

impl Samples {
    /// Reads a file, or the built-in one.
    pub fn read(path: Option<&Path>) -> Result<Samples, FileError> {
        let built_in = Path::new("accounts.toml");
        let text = match path {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|e| FileError::Io(path.to_owned(), e))?
            }
            None => BUILT_IN.to_owned(),
        };
        toml::from_str(&text).map_err(|e: toml::de::Error| {
            // The text around the error may be personal: say where, not what.
            let line = e.span().map_or(0, |s| text[..s.start].lines().count());
            let what = format!("line {line}: {}", e.message());
            FileError::Content(path.unwrap_or(built_in).to_owned(), what)
        })
    }
}

impl Sample {
    /// What a device caches of this account: (class, id, value), as the
    /// product's own software would put it. Every class has a value, so that a
    /// search for remains covers each: one that these files have no field for
    /// gets a text made of its word.
    pub fn cached(&self) -> Vec<(Class, u16, Vec<u8>)> {
        let mut out = Vec::new();
        for &class in Class::ALL {
            // The agent's own: it holds no account data.
            if class == Class::Session {
                continue;
            }
            let given = self.texts().into_iter().find(|(of, _)| *of == class);
            let texts = given.map_or_else(
                || vec![format!("{} of {}", class.words(), self.email)],
                |(_, texts)| texts,
            );
            let ids = 1..;
            out.extend(ids.zip(texts).map(|(id, t)| (class, id, t.into_bytes())));
        }
        out
    }

    /// The texts that these files have a field for, by class.
    fn texts(&self) -> [(Class, Vec<String>); 7] {
        let one = |text: &String| vec![text.clone()];
        [
            (Class::Name, one(&self.full_name)),
            (Class::PostalAddress, one(&self.address)),
            (Class::Email, one(&self.email)),
            (Class::Payment, one(&self.payment)),
            (Class::Telephone, one(&self.telephone)),
            (Class::Profiles, self.profiles.clone()),
            (Class::Activity, self.activity.clone()),
        ]
    }

    /// Every text of this account that must never stand on flash in plain.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = self.cached().into_iter().map(|(_, _, v)| v).collect();
        out.push(self.name.clone().into_bytes());
        // Short words turn up in random bytes by chance.
        out.retain(|s| s.len() >= 8);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_but_the_agents_own_has_a_value_that_is_searched_for() {
        for account in Samples::read(None).unwrap().accounts {
            let cached = account.cached();
            for class in Class::ALL {
                let found = cached.iter().any(|(of, _, v)| of == class && !v.is_empty());
                assert_eq!(found, *class != Class::Session, "{}", class.name());
            }
        }
    }
}
