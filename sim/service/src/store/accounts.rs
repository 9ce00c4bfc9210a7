//! Account holders.

use super::revocations::now_s;
use super::sql::{Lock, Row, values};
use super::{AccountId, AuditRow, Store, audit};
use crate::audit::OperationKind;
use crate::error::Result;

/// The sealed personal columns of an account.
#[derive(Clone, Default)]
pub struct Sealed {
    /// First name or nickname.
    pub name: Vec<u8>,
    /// E-mail address.
    pub email: Vec<u8>,
    /// Payment method.
    pub payment: Vec<u8>,
    /// Postal address.
    pub address: Vec<u8>,
    /// Telephone number.
    pub telephone: Vec<u8>,
    /// Profiles, one a line.
    pub profiles: Vec<u8>,
}

/// An account as stored.
pub struct AccountRow {
    /// Its number.
    pub id: AccountId,
    /// The password's argon2id string (PHC format).
    pub password: String,
    /// Policy version consented to.
    pub policy: u32,
    /// Personal columns.
    pub sealed: Sealed,
}

impl Store {
    /// Adds an account; its number comes first, because the sealed columns
    /// are bound to it.
    pub fn add_account(
        &self,
        email_index: &[u8; 32],
        password: &str,
        policy: u32,
        seal: impl Fn(AccountId) -> Result<Sealed>,
    ) -> Result<AccountId> {
        self.write(|tx| {
            // Numbers are given one after the other.
            let sql = "SELECT value FROM meta WHERE key = 'schema'";
            tx.hold(Lock::Update, sql, &[])?;
            let sql = "SELECT coalesce(max(id), 0) + 1 FROM accounts";
            let next: i64 = tx.one(sql, &[], |r| r.get(0))?;
            let s = seal(AccountId(next))?;
            tx.execute(
                "INSERT INTO accounts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                values![
                    next,
                    email_index,
                    password,
                    policy,
                    &s.name,
                    &s.email,
                    &s.payment,
                    &s.address,
                    &s.telephone,
                    &s.profiles,
                ],
            )?;
            Ok(AccountId(next))
        })
    }

    /// The account with this e-mail index.
    pub fn account_by_email(&self, index: &[u8; 32]) -> Result<Option<AccountRow>> {
        let sql = format!("{SELECT} WHERE email_index = ?1");
        self.read(|tx| tx.first(&sql, values![index], row))
    }

    /// The account with this number.
    pub fn account(&self, id: AccountId) -> Result<AccountRow> {
        let sql = format!("{SELECT} WHERE id = ?1");
        self.read(|tx| tx.one(&sql, values![id.0], row))
    }

    /// The policy version in force.
    pub fn policy_version(&self) -> Result<u32> {
        let sql = "SELECT value FROM meta WHERE key = 'policy_version'";
        self.read(|tx| tx.one(sql, &[], |r| r.get(0)))
    }

    /// Puts a new policy version in force; never an older one.
    pub fn raise_policy(&self, version: u32) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE meta SET value = ?1 WHERE key = 'policy_version' AND value < ?1";
            if tx.execute(sql, values![version])? == 1 {
                let entry = AuditRow::new(now_s(), OperationKind::PolicyRaised);
                audit::insert(tx, &entry.numbered(version))?;
            }
            Ok(())
        })
    }

    /// Records consent for the account and every activation it holds.
    pub fn consent(&self, account: AccountId, version: u32) -> Result<bool> {
        self.write(|tx| {
            let sql = "UPDATE accounts SET policy = ?2 WHERE id = ?1 AND policy < ?2";
            let new = tx.execute(sql, values![account.0, version])? == 1;
            let sql = "UPDATE activations SET policy = ?2 WHERE account = ?1 AND policy < ?2";
            tx.execute(sql, values![account.0, version])?;
            Ok(new)
        })
    }
}

const SELECT: &str = "SELECT id, password, policy, name, email, payment, address, telephone, \
                      profiles FROM accounts";

fn row(r: &Row) -> Result<AccountRow> {
    Ok(AccountRow {
        id: AccountId(r.get(0)?),
        password: r.get(1)?,
        policy: r.get(2)?,
        sealed: Sealed {
            name: r.get(3)?,
            email: r.get(4)?,
            payment: r.get(5)?,
            address: r.get(6)?,
            telephone: r.get(7)?,
            profiles: r.get(8)?,
        },
    })
}
