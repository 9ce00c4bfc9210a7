//! Lease arithmetic. Pure: time comes in as arguments.

use crate::wire::codec::Wire;
use crate::wire::{LeaseTerms, TermBounds};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// A lease as the journal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct StoredLease {
    /// The terms.
    pub terms: LeaseTerms,
    /// The device's powered seconds, charged ahead, when it was stored.
    pub stored_at_s: u32,
    /// The device's powered seconds that had passed for certain when it was
    /// stored.
    pub stored_used_s: u32,
    /// The boot in which it was stored.
    pub stored_in_boot: u32,
    /// The service's wall clock when it was issued, Unix seconds; 0 for the
    /// terms of a grant, which name no time.
    pub issued_at: u64,
}

/// The state of a lease: what it allows now.
///
/// ```
/// use nrd_agent::lease::{LeaseStatus, Now, StoredLease};
/// use nrd_agent::wire::LeaseTerms;
///
/// const DAY: u32 = 24 * 3600;
/// let lease = StoredLease {
///     terms: LeaseTerms {
///         renew_after_s: DAY,
///         expires_after_s: 30 * DAY,
///         max_boots: 500,
///         dead_man_s: 90 * DAY,
///     },
///     stored_at_s: 1000,
///     stored_used_s: 800,
///     stored_in_boot: 7,
///     issued_at: 1_800_000_000,
/// };
/// // After so many powered days; no wall clock.
/// let after = |days: u32| {
///     let used_s = 800 + days * DAY;
///     lease.status(Now { powered_s: 200 + used_s, used_s, boot: 7, wall_s: None })
/// };
/// assert_eq!(after(0), LeaseStatus::Open { renew: false, left_s: 30 * DAY });
/// assert_eq!(after(10), LeaseStatus::Open { renew: true, left_s: 20 * DAY });
/// assert_eq!(after(31), LeaseStatus::Expired { dead_man_in_s: Some(89 * DAY) });
/// assert_eq!(after(120), LeaseStatus::DeadMan);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Access is open.
    Open {
        /// It is time to renew: `renew_after_s` has passed, or more than half
        /// of the boots are used.
        renew: bool,
        /// Powered seconds until access closes.
        left_s: u32,
    },
    /// Access is closed.
    Expired {
        /// Powered seconds until the dead-man wipes; `None` for never.
        dead_man_in_s: Option<u32>,
    },
    /// The dead-man's time has come.
    DeadMan,
}

/// The device's time, as the lease sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Powered seconds of the device's life, charged ahead of use.
    pub powered_s: u32,
    /// Powered seconds of the device's life that have passed for certain.
    pub used_s: u32,
    /// Boots of the device's life.
    pub boot: u32,
    /// Wall time where it is known and no older than the time floor.
    pub wall_s: Option<u64>,
}

impl StoredLease {
    /// The state of this lease at `now`.
    ///
    /// Powered seconds count first and always: those charged ahead close access,
    /// those that have passed for certain feed the dead-man. Boots and wall time
    /// may close access, never wipe; and wall time not in the boot that stored the
    /// lease, whose freshness the nonce has shown.
    pub fn status(&self, now: Now) -> LeaseStatus {
        // Every term has a name here: one that is added does not compile before
        // this decides what it does.
        let LeaseTerms {
            renew_after_s,
            expires_after_s: expires,
            max_boots,
            dead_man_s,
        } = self.terms;
        // What destroys counts what has passed; what closes counts what may have.
        let passed = now.used_s.saturating_sub(self.stored_used_s);
        let dead_at = expires.saturating_add(dead_man_s);
        if dead_man_s > 0 && passed >= dead_at {
            return LeaseStatus::DeadMan;
        }
        let used = now.powered_s.saturating_sub(self.stored_at_s);
        let boots = now.boot.saturating_sub(self.stored_in_boot);
        let late = match now.wall_s {
            Some(wall) if boots > 0 && self.issued_at > 0 => {
                wall.saturating_sub(self.issued_at) >= u64::from(expires)
            }
            _ => false,
        };
        if used >= expires || boots > u32::from(max_boots) || late {
            let dead_man_in_s = (dead_man_s > 0).then(|| dead_at - passed);
            return LeaseStatus::Expired { dead_man_in_s };
        }
        LeaseStatus::Open {
            renew: used >= renew_after_s || boots > u32::from(max_boots) / 2,
            left_s: expires - used,
        }
    }
}

impl LeaseTerms {
    /// These terms, held between what the service root allows.
    ///
    /// ```
    /// use nrd_agent::wire::{LeaseTerms, TermBounds};
    ///
    /// const DAY: u32 = 24 * 3600;
    /// let bounds = TermBounds {
    ///     expires_min_s: DAY,
    ///     expires_max_s: 60 * DAY,
    ///     boots_min: 50,
    ///     dead_man_min_s: 30 * DAY,
    /// };
    /// // Whoever stole a session key can neither wipe a device with a lease…
    /// let hostile = LeaseTerms { renew_after_s: 0, expires_after_s: 0, max_boots: 0, dead_man_s: 1 };
    /// let held = hostile.held_between(&bounds);
    /// assert_eq!((held.expires_after_s, held.dead_man_s, held.max_boots), (DAY, 30 * DAY, 50));
    /// // … nor keep it open for ever.
    /// let endless = LeaseTerms { expires_after_s: u32::MAX, ..hostile };
    /// assert_eq!(endless.held_between(&bounds).expires_after_s, 60 * DAY);
    /// ```
    pub fn held_between(&self, bounds: &TermBounds) -> LeaseTerms {
        let TermBounds {
            expires_min_s,
            expires_max_s,
            boots_min,
            dead_man_min_s,
        } = *bounds;
        // A floor above its ceiling is a mistake of the root's: the floor counts,
        // for a device that closes too late is better than one that never opens.
        let expires_after_s = self.expires_after_s.min(expires_max_s).max(expires_min_s);
        LeaseTerms {
            renew_after_s: self.renew_after_s.min(expires_after_s),
            expires_after_s,
            max_boots: self.max_boots.max(boots_min),
            dead_man_s: match self.dead_man_s {
                0 => 0,
                s => s.max(dead_man_min_s),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> StoredLease {
        StoredLease {
            terms: LeaseTerms {
                renew_after_s: 100,
                expires_after_s: 1000,
                max_boots: 3,
                dead_man_s: 500,
            },
            stored_at_s: 50,
            stored_used_s: 50,
            stored_in_boot: 7,
            issued_at: 1_000_000,
        }
    }

    fn at(powered_s: u32, boot: u32, wall_s: Option<u64>) -> LeaseStatus {
        lease().status(Now {
            powered_s,
            used_s: powered_s,
            boot,
            wall_s,
        })
    }

    #[test]
    fn access_closes_on_powered_seconds_then_the_dead_man_comes() {
        assert_eq!(
            at(149, 7, None),
            LeaseStatus::Open {
                renew: false,
                left_s: 901
            }
        );
        assert_eq!(
            at(150, 7, None),
            LeaseStatus::Open {
                renew: true,
                left_s: 900
            }
        );
        assert_eq!(
            at(1050, 7, None),
            LeaseStatus::Expired {
                dead_man_in_s: Some(500)
            }
        );
        assert_eq!(
            at(1549, 7, None),
            LeaseStatus::Expired {
                dead_man_in_s: Some(1)
            }
        );
        assert_eq!(at(1550, 7, None), LeaseStatus::DeadMan);
    }

    #[test]
    fn boots_and_wall_time_close_access_but_never_wipe() {
        let closed = LeaseStatus::Expired {
            dead_man_in_s: Some(1500),
        };
        assert!(matches!(
            at(50, 8, None),
            LeaseStatus::Open { renew: false, .. }
        ));
        assert!(matches!(
            at(50, 9, None),
            LeaseStatus::Open { renew: true, .. }
        ));
        assert!(matches!(at(50, 10, None), LeaseStatus::Open { .. }));
        assert_eq!(at(50, 11, None), closed);
        assert_eq!(at(50, 8, Some(1_001_000)), closed);
        assert_eq!(at(50, 8, Some(u64::MAX)), closed);
        assert!(matches!(at(50, 8, Some(0)), LeaseStatus::Open { .. }));
    }

    #[test]
    fn a_wrong_wall_clock_cannot_close_a_lease_stored_in_this_boot() {
        assert!(matches!(
            at(50, 7, Some(u64::MAX)),
            LeaseStatus::Open { .. }
        ));
    }

    #[test]
    fn a_dead_man_of_zero_never_wipes() {
        let mut l = lease();
        l.terms.dead_man_s = 0;
        let now = Now {
            powered_s: u32::MAX,
            used_s: u32::MAX,
            boot: u32::MAX,
            wall_s: Some(u64::MAX),
        };
        assert_eq!(
            l.status(now),
            LeaseStatus::Expired {
                dead_man_in_s: None
            }
        );
    }

    #[test]
    fn the_terms_of_a_grant_name_no_time_so_no_wall_clock_closes_them() {
        let mut l = lease();
        l.issued_at = 0;
        let now = Now {
            powered_s: 50,
            used_s: 50,
            boot: 8,
            wall_s: Some(u64::MAX),
        };
        assert!(matches!(l.status(now), LeaseStatus::Open { .. }));
    }

    #[test]
    fn boots_bring_the_dead_man_neither_nearer_nor_into_being() {
        // 40 of 1000 seconds are used: 960 are left, then 500.
        assert_eq!(
            at(90, 11, None),
            LeaseStatus::Expired {
                dead_man_in_s: Some(1460)
            }
        );
        let mut l = lease();
        l.terms.dead_man_s = 0;
        let now = Now {
            powered_s: 90,
            used_s: 90,
            boot: 11,
            wall_s: None,
        };
        let never = LeaseStatus::Expired {
            dead_man_in_s: None,
        };
        assert_eq!(l.status(now), never);
    }

    #[test]
    fn more_than_half_of_the_boots_make_it_time_to_renew() {
        let mut l = lease();
        l.terms.max_boots = 10;
        let renew = |boots: u32| {
            let now = Now {
                powered_s: 50,
                used_s: 50,
                boot: 7 + boots,
                wall_s: None,
            };
            matches!(l.status(now), LeaseStatus::Open { renew: true, .. })
        };
        assert_eq!([1, 5, 6, 10].map(renew), [false, false, true, true]);
    }
}
