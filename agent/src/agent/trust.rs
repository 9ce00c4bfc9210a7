//! Root, delegation, and what they sign. A root leads to the next: the old one
//! signs the new one, versions only go up, and each is on flash before it is
//! used.

use super::{Agent, id};
use crate::core::{Delegated, Event};
use crate::error::Error;
use crate::log::value;
use crate::wire::codec::{Blank, Code};
use crate::wire::{self, Body, Delegation, Kind, RootChange, TrustVersion};
use nrd_hal::Platform;

impl<P: Platform> Agent<'_, P> {
    /// The delegation in force: at its first use in a boot read from the journal,
    /// and held against the root in force.
    pub(super) fn trust(&mut self) -> Result<&Delegation, Error> {
        if self.trust.is_none() {
            let n = self.get_journal(id::TRUST).map_err(|e| {
                if e == Error::Corrupt {
                    self.core.delegation_lost();
                }
                Error::WrongState
            })?;
            let frame = value(self.scratch, n);
            let trust = self.trust.insert(Delegation::BLANK);
            if wire::read_signed::<P::Crypto>(frame, Delegation::KIND, &self.root, trust).is_err() {
                self.trust = None;
            }
        }
        self.trust.as_ref().ok_or(Error::WrongState)
    }

    /// What the device trusts now, as every request states it.
    pub(super) fn trust_version(&mut self) -> TrustVersion {
        let delegation = self.trust().map_or(0, |t| t.version.delegation);
        TrustVersion {
            root: self.core.root(),
            delegation,
        }
    }

    /// Reads what the session key in force must have signed into a blank body.
    pub(super) fn read_session_signed<'f>(
        &mut self,
        frame: &'f [u8],
        kind: &Kind,
        body: &mut dyn Code<'f>,
    ) -> Result<(), Error> {
        let key = &self.trust()?.session_key;
        wire::read_signed::<P::Crypto>(frame, kind, key, body)
    }

    /// Follows the service to its next root.
    pub(super) fn accept_root(&mut self, frame: &[u8]) -> Result<(), Error> {
        let mut change = RootChange::BLANK;
        wire::read_signed::<P::Crypto>(frame, RootChange::KIND, &self.root, &mut change)?;
        let before = self.core.root();
        self.settle(Event::RootChanged(change.version), frame)?;
        if self.core.root() != before {
            self.root = change.root;
            self.trust = None;
        }
        Ok(())
    }

    pub(super) fn store_root(&mut self, frame: &[u8]) -> Result<(), Error> {
        // Verified when it arrived; the journal authenticates it from here on.
        let body = wire::signed_body(frame, RootChange::KIND)?;
        self.put_journal(id::ROOT, body)
    }

    /// Accepts a newer delegation; older ones are refused without an error, for
    /// they may simply have been on their way.
    pub(super) fn accept_delegation(&mut self, frame: &[u8]) -> Result<(), Error> {
        let mut d = Delegation::BLANK;
        wire::read_signed::<P::Crypto>(frame, Delegation::KIND, &self.root, &mut d)?;
        let newest = self.trust().ok().map(|t| t.order_key_version);
        let before = self.core.held().trust;
        let delegated = Delegated {
            version: d.version,
            order_key_falls: newest.is_some_and(|n| d.order_key_version < n),
            none_held: newest.is_none(),
            time_version: d.time_version,
            time_floor: d.time_floor,
        };
        self.settle(Event::Delegated(&delegated), frame)?;
        let after = self.core.held().trust;
        if after == d.version && (after != before || newest.is_none()) {
            self.trust = Some(d);
        }
        Ok(())
    }
}
