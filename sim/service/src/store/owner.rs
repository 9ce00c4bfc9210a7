//! Which keys a database belongs to. Two services with different keys on one
//! database would hand out orders that the other's devices refuse, and could
//! not open each other's columns.

use super::Store;
use super::sql::values;
use crate::error::{Error, Result};

impl Store {
    /// Claims the database for these public keys, or finds them there.
    /// An error names the first key that is another.
    pub fn belongs_to(&self, keys: &[(&str, [u8; 32])]) -> Result<()> {
        self.write(|tx| {
            for (name, public) in keys {
                tx.execute(
                    "INSERT INTO owners (name, public) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                    values![*name, public],
                )?;
                let sql = "SELECT public FROM owners WHERE name = ?1";
                let stored: [u8; 32] = tx.one(sql, values![*name], |r| r.get(0))?;
                if stored != *public {
                    return Err(Error::OtherKeys((*name).to_owned()));
                }
            }
            Ok(())
        })
    }
}
