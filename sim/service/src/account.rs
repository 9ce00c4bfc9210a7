//! What an account holder can do with devices.

use super::address::network;
use super::audit::Origin;
use super::device::ADDRESS;
use super::events::EventKind;
use super::keys::Index;
use super::order_rules::rules;
use super::store::{
    AccountId, ActivationPhase, ActivationRow, RevocationReason, SignedOrder, Throttle,
};
use super::{Error, Keys, Result, Service, metrics, short_id};
use nrd_agent::wire::{ActivationId, DeviceId, KeyVersion, Order, OrderKind, OrderSeq};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::device_kind;
use nrd_sim_base::hex;
use nrd_sim_base::sign::signed;

/// Wrong codes before typing has to wait.
const FREE_CODES: u32 = 5;
/// Wrong codes from one address before everybody there has to wait.
const FREE_AT_ADDRESS: u32 = 30;
/// The longest wait, in seconds.
const LONGEST_WAIT_S: u64 = 15 * 60;

/// Why a code leads nowhere.
#[derive(Debug)]
pub enum CodeError {
    /// No screen shows this code now.
    Unknown,
    /// Too many wrong ones: wait this many seconds.
    Wait(u64),
    /// The service cannot tell now.
    Service(Error),
}

impl From<Error> for CodeError {
    fn from(e: Error) -> Self {
        CodeError::Service(e)
    }
}

/// The removal of all devices stopped half way.
#[derive(Debug)]
pub struct HalfRemoved {
    /// So many removals are ordered, and stay so.
    pub ordered: u32,
    /// So many devices are as they were.
    pub left: u32,
    /// Why.
    pub error: Error,
}

impl From<HalfRemoved> for Error {
    fn from(half: HalfRemoved) -> Error {
        half.error
    }
}

/// An account, as its own pages show it.
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// First name or nickname.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// Payment method, all but its last four digits hidden.
    pub payment: String,
    /// Postal address.
    pub address: String,
    /// Telephone number.
    pub telephone: String,
    /// Profiles.
    pub profiles: Vec<String>,
    /// Policy version consented to.
    pub policy: u32,
}

/// A device's status on the account's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceStatus {
    /// Consent was given; the device has not answered yet.
    Unconfirmed,
    /// In use.
    Active,
    /// In use; a sign-out was ordered here and waits for the device.
    SigningOut,
    /// Closed until the account holder consents to the policy in force.
    ConsentDue,
    /// Its last request is older than two check-in intervals.
    Offline,
    /// Its last request is older than a lease: if it was on all that time, its
    /// access has ended.
    LeaseOver,
    /// Signed out at the device.
    SignedOut,
    /// Its session cannot be read any more: somebody signs in again at it.
    SessionLost,
    /// Its memory is damaged: it is locked until a person resets it.
    Damaged,
    /// A copied token was used.
    Theft,
    /// Its maker vouches for it no longer.
    Barred,
    /// Removal ordered; the device has not received the order yet.
    Removing,
    /// The device accepted its removal.
    Delivered,
    /// A receipt proves the wipe.
    Wiped,
    /// A receipt says that the wipe failed.
    WipeFailed,
    /// Over, without a receipt.
    Ended,
}

/// A device on the account's list.
pub struct Device {
    /// The activation, in hexadecimal: names it in links.
    pub id: String,
    /// Its row.
    pub row: ActivationRow,
    /// The account holder's name for it, or its model.
    pub name: String,
    /// Its status.
    pub status: DeviceStatus,
    /// Address of its last request.
    pub address: Option<String>,
    /// Powered hours after which access ends by itself, at most.
    pub access_ends_h: u32,
    /// Powered hours after the end of access until it wipes itself; 0 for
    /// never.
    pub wipes_after_h: u32,
    /// It may have been heard up to so many seconds after its row says so.
    pub unnoted_s: u32,
}

impl Service {
    /// The account's own data.
    pub fn account(&self, id: AccountId) -> Result<Account> {
        let row = self.store.account(id)?;
        let open = |column, sealed: &[u8]| self.personal(id, column, sealed);
        let payment = open("payment", &row.sealed.payment)?;
        Ok(Account {
            id,
            name: open("name", &row.sealed.name)?,
            email: open("email", &row.sealed.email)?,
            payment: masked(&payment),
            address: open("address", &row.sealed.address)?,
            telephone: open("telephone", &row.sealed.telephone)?,
            profiles: open("profiles", &row.sealed.profiles)?
                .lines()
                .map(String::from)
                .collect(),
            policy: row.policy,
        })
    }

    /// The attempt whose screen shows `typed`, of somebody whose address is not
    /// known.
    pub fn look_up_code(
        &self,
        account: AccountId,
        typed: &str,
    ) -> std::result::Result<ActivationRow, CodeError> {
        self.look_up_code_from(account, typed, None)
    }

    /// The attempt whose screen shows `typed`; slows guessing down, by account and
    /// by address. A code that is good takes nothing from the count of the others.
    pub fn look_up_code_from(
        &self,
        account: AccountId,
        typed: &str,
        address: Option<&str>,
    ) -> std::result::Result<ActivationRow, CodeError> {
        let code = clean_code(typed);
        let now = self.now_s();
        let throttle = |scope, free| Throttle {
            scope,
            free,
            longest_s: LONGEST_WAIT_S,
        };
        let mut throttles = vec![throttle(
            self.keys.index(Index::Codes, &account.0.to_string()),
            FREE_CODES,
        )];
        throttles.extend(address.map(|a| {
            let scope = self.keys.index(Index::CodeAddress, &network(a));
            throttle(scope, FREE_AT_ADDRESS)
        }));
        if let Err(s) = self.store.reserve_try(&throttles, now)? {
            return Err(CodeError::Wait(s));
        }
        match self.store.by_code(&code, now, self.settings.code_life_s) {
            Ok(row) => {
                self.store.give_try_back(&throttles, now)?;
                Ok(row)
            }
            Err(Error::NotFound) => Err(CodeError::Unknown),
            Err(e) => {
                // Nothing was learned.
                self.store.give_try_back(&throttles, now)?;
                Err(e.into())
            }
        }
    }

    /// Records consent to this attempt of this device, under the policy that was
    /// shown: `PolicyChanged` where another one is in force by now. The caller must
    /// have typed its code.
    pub fn approve<'a>(
        &self,
        account: AccountId,
        row: &ActivationRow,
        policy: u32,
        remember: bool,
        from: impl Into<Origin<'a>>,
    ) -> Result<ActivationRow> {
        // Netflix ready devices have no choice: they always remember.
        let remember = remember || device_kind::remembers_always(row.kind);
        let row = self.store.approve(
            &row.id,
            account,
            remember,
            policy,
            self.now_s(),
            self.settings.code_life_s,
        )?;
        let from = Some(from.into());
        self.note_of(account, EventKind::Activated, &row, &row.model, from)?;
        Ok(row)
    }

    /// Whether the account has consented to the attempt whose screen showed `typed`:
    /// then a form that comes twice has done its work.
    pub fn consented_to(&self, account: AccountId, typed: &str) -> Result<bool> {
        self.store
            .consented_to(account, &clean_code(typed), self.now_s())
    }

    /// No: the attempt ends.
    pub fn decline<'a>(
        &self,
        account: AccountId,
        row: &ActivationRow,
        from: impl Into<Origin<'a>>,
    ) -> Result<()> {
        self.store.end_attempt(&row.id)?;
        let from = Some(from.into());
        self.note_of(account, EventKind::Declined, row, &row.model, from)
    }

    /// The account's devices, newest first.
    pub fn devices(&self, account: AccountId) -> Result<Vec<Device>> {
        let now = self.now_s();
        let policy = self.store.policy_version()?;
        let rows = self.store.activations(account)?;
        rows.into_iter()
            .map(|row| {
                let waits = match row.phase {
                    ActivationPhase::Active => self.store.next_order(&row.id)?.is_some(),
                    _ => false,
                };
                Ok(self.present(row, now, policy, waits))
            })
            .collect()
    }

    fn present(&self, row: ActivationRow, now: u64, policy: u32, order_waits: bool) -> Device {
        let address = row.last_address.as_deref();
        let of_ours = !matches!(
            row.phase,
            ActivationPhase::Wiped | ActivationPhase::WipeFailed | ActivationPhase::Ended
        );
        Device {
            id: hex(&row.id),
            name: row.name.clone().unwrap_or_else(|| row.model.clone()),
            status: match self.status(&row, now) {
                DeviceStatus::Active | DeviceStatus::Offline if order_waits => {
                    DeviceStatus::SigningOut
                }
                DeviceStatus::Active if row.policy < policy => DeviceStatus::ConsentDue,
                status => status,
            },
            // Where a device is after it left the account is not shown. An
            // address that does not open is left out: the device must stay on
            // the list, so that it can be removed.
            address: address
                .filter(|_| of_ours)
                .and_then(|a| self.keys.open_column(ADDRESS, a).ok()),
            access_ends_h: self.settings.terms.expires_after_s.div_ceil(3600),
            wipes_after_h: self.settings.terms.dead_man_s.div_ceil(3600),
            unnoted_s: self.settings.seen_every_s,
            row,
        }
    }

    fn status(&self, row: &ActivationRow, now: u64) -> DeviceStatus {
        let silent = now.saturating_sub(row.last_seen);
        let unnoted = u64::from(self.settings.seen_every_s);
        let may_be_silent = 2 * u64::from(self.settings.check_in_s) + 120 + unnoted;
        let theft = row.revoked == Some(RevocationReason::Theft);
        match row.phase {
            ActivationPhase::Pending | ActivationPhase::Approved => DeviceStatus::Unconfirmed,
            ActivationPhase::Active if theft => DeviceStatus::Theft,
            ActivationPhase::Active | ActivationPhase::SignedOut
                if self
                    .barred(&row.device, &row.model, &row.agent_version)
                    .is_some() =>
            {
                DeviceStatus::Barred
            }
            // It once said "Active" for a month, then "connect it", of a device
            // that was connected and had lost its session.
            ActivationPhase::Active | ActivationPhase::SignedOut if row.losses.snapshot => {
                DeviceStatus::Damaged
            }
            ActivationPhase::Active if row.losses.session => DeviceStatus::SessionLost,
            ActivationPhase::Active if silent > u64::from(self.settings.terms.expires_after_s) => {
                DeviceStatus::LeaseOver
            }
            ActivationPhase::Active if silent > may_be_silent => DeviceStatus::Offline,
            ActivationPhase::Active => DeviceStatus::Active,
            ActivationPhase::SignedOut => DeviceStatus::SignedOut,
            ActivationPhase::Removing => DeviceStatus::Removing,
            ActivationPhase::Delivered => DeviceStatus::Delivered,
            ActivationPhase::Wiped => DeviceStatus::Wiped,
            ActivationPhase::WipeFailed => DeviceStatus::WipeFailed,
            ActivationPhase::Ended => DeviceStatus::Ended,
        }
    }

    /// Orders the removal of a device. Its token is void from now on.
    pub fn remove<'a>(
        &self,
        account: AccountId,
        id: &[u8; 16],
        from: impl Into<Origin<'a>>,
    ) -> Result<()> {
        self.order(account, id, OrderKind::Deactivate, from.into())
    }

    /// Orders a device to sign out; it stays on the list.
    /// Asked twice, it is ordered once.
    pub fn order_sign_out<'a>(
        &self,
        account: AccountId,
        id: &[u8; 16],
        from: impl Into<Origin<'a>>,
    ) -> Result<()> {
        let row = self.store.activation(id)?;
        let row = row.filter(|row| row.account == Some(account));
        let signed_out = row.ok_or(Error::NotFound)?.phase == ActivationPhase::SignedOut;
        if signed_out || self.store.next_order(id)?.is_some() {
            return Ok(());
        }
        self.order(account, id, OrderKind::SignOut, from.into())
    }

    fn order(
        &self,
        account: AccountId,
        id: &[u8; 16],
        kind: OrderKind,
        from: Origin<'_>,
    ) -> Result<()> {
        let row = self.store.activation(id)?.ok_or(Error::NotFound)?;
        let subject = row.name.as_deref().unwrap_or(&row.model);
        let event = self.event_of(rules(kind).event, &row, subject, Some(from))?;
        let sign = signer(&self.keys);
        self.store
            .enter_order(account, id, kind, &event, self.now_s(), &sign)?;
        metrics::count(&self.metrics.entered, "kind", kind.name());
        tracing::info!(activation = %short_id(id), kind = kind.name(), "order entered");
        // The transaction itself has told the other processes.
        self.notifier.device(id);
        self.notify_page(account);
        Ok(())
    }

    /// Orders the removal of every device that is still on the account.
    /// Returns how many.
    pub fn remove_all<'a>(
        &self,
        account: AccountId,
        from: impl Into<Origin<'a>>,
    ) -> std::result::Result<u32, HalfRemoved> {
        let from = from.into();
        let stopped = |ordered, left, error| HalfRemoved {
            ordered,
            left,
            error,
        };
        let mut devices = self.devices(account).map_err(|e| stopped(0, 0, e))?;
        devices.retain(Device::removable);
        let (mut ordered, mut left) = (0, u32::try_from(devices.len()).unwrap_or(u32::MAX));
        for d in devices {
            match self.remove(account, &d.row.id, from) {
                Ok(()) => ordered += 1,
                // Meanwhile it was wiped, or has gone another way: it needs no
                // removal any more, and the others still do.
                Err(Error::WrongState | Error::NotFound) => {}
                Err(e) => return Err(stopped(ordered, left, e)),
            }
            left -= 1;
        }
        Ok(ordered)
    }

    /// Records consent to the policy in force.
    pub fn consent<'a>(
        &self,
        account: AccountId,
        version: u32,
        from: impl Into<Origin<'a>>,
    ) -> Result<()> {
        // Only what the page showed can have been consented to.
        if version != self.store.policy_version()? {
            return Err(Error::WrongState);
        }
        if !self.store.consent(account, version)? {
            // A form that came twice.
            return Ok(());
        }
        self.note(
            account,
            EventKind::Consented,
            &format!("Version {version}"),
            Some(from.into()),
        )?;
        for row in self.store.activations(account)? {
            self.notify_device(&row.id);
        }
        Ok(())
    }

    /// Signs a remembered computer out and forgets it.
    pub fn remove_computer<'a>(
        &self,
        account: AccountId,
        series: &[u8],
        from: impl Into<Origin<'a>>,
    ) -> Result<()> {
        let browser = self.store.remove_computer(account, series)?;
        let from = Some(from.into());
        self.note(account, EventKind::ComputerRemoved, &browser, from)
    }
}

impl Device {
    /// True while removing it makes sense.
    pub fn removable(&self) -> bool {
        matches!(
            self.row.phase,
            ActivationPhase::Approved | ActivationPhase::Active | ActivationPhase::SignedOut
        )
    }

    /// True when nothing more will come.
    pub fn over(&self) -> bool {
        matches!(
            self.row.phase,
            ActivationPhase::Wiped | ActivationPhase::WipeFailed | ActivationPhase::Ended
        )
    }
}

/// What the code on a screen says, however it was typed.
fn clean_code(typed: &str) -> String {
    typed
        .chars()
        .filter(char::is_ascii_alphabetic)
        .take(16)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

/// Hides every digit but the last four.
fn masked(payment: &str) -> String {
    let head: String = payment
        .chars()
        .take_while(|c| !c.is_ascii_digit())
        .collect();
    let digits: Vec<char> = payment
        .split(',')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let last: String = digits.iter().skip(digits.len().saturating_sub(4)).collect();
    format!("{}, ending in {last}", head.trim())
}

/// Signs orders with the key of a version, at a position.
pub(super) fn signer(
    keys: &Keys,
) -> impl Fn(&ActivationRow, OrderKind, u32, u64) -> Result<SignedOrder> {
    |row, kind, version, seq| {
        // Only ids that a certificate carried are ever stored.
        let device_id = DeviceId::new(&row.device)
            .ok_or_else(|| Error::Internal("a stored device id is none".to_owned()))?;
        let frame = signed(
            &keys.order(KeyVersion(version)),
            &Order {
                device_id,
                epoch: row.epoch,
                activation_id: ActivationId(row.id),
                key_version: KeyVersion(version),
                seq: OrderSeq(seq),
                kind,
            },
        );
        Ok((RingCrypto::sha256(&frame), frame))
    }
}
