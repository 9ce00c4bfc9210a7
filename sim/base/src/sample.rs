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
    #[serde(rename = "account")]
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
    /// product's own software would put it.
    pub fn cached(&self) -> Vec<(Class, u16, Vec<u8>)> {
        let one = |class, text: &str| (class, 1, text.as_bytes().to_vec());
        let mut out = vec![
            one(Class::Name, &self.full_name),
            one(Class::PostalAddress, &self.address),
            one(Class::Email, &self.email),
            one(Class::Payment, &self.payment),
            one(Class::Telephone, &self.telephone),
        ];
        for (class, texts) in [
            (Class::Profiles, &self.profiles),
            (Class::Activity, &self.activity),
        ] {
            let ids = 1..;
            out.extend(
                ids.zip(texts)
                    .map(|(id, t)| (class, id, t.as_bytes().to_vec())),
            );
        }
        out
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
