//! The typed data classes and their retention rules.

/// A class of account data. Each has a key of its own, so that
/// `forget(class)` destroys exactly that class, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// The session itself; the agent's own, not for callers.
    Session = 0,
    /// Name and nickname.
    Name = 1,
    /// Postal address.
    PostalAddress = 2,
    /// E-mail address.
    Email = 3,
    /// Payment method.
    Payment = 4,
    /// Telephone number.
    Telephone = 5,
    /// Profiles.
    Profiles = 6,
    /// Activity: titles, ratings, hours, device types, IP addresses.
    Activity = 7,
}

impl Class {
    /// Every class, in order of its number.
    pub const ALL: [Class; crate::log::CLASSES] = [
        Class::Session,
        Class::Name,
        Class::PostalAddress,
        Class::Email,
        Class::Payment,
        Class::Telephone,
        Class::Profiles,
        Class::Activity,
    ];

    /// The class of a number.
    pub fn from_number(n: u8) -> Option<Class> {
        Self::ALL.get(usize::from(n)).copied()
    }

    /// How long a value is kept after it was written, in powered hours; `None`
    /// for as long as the activation.
    pub fn retention_powered_hours(self) -> Option<u32> {
        match self {
            Class::Session | Class::Name | Class::Profiles => None,
            Class::Payment => Some(30 * 24),
            Class::PostalAddress | Class::Email | Class::Telephone => Some(90 * 24),
            Class::Activity => Some(180 * 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_eight_is_a_class_and_no_other() {
        for n in 0..=u8::MAX {
            let class = Class::from_number(n);
            assert_eq!(class.is_some(), n < 8, "{n}");
            assert!(class.is_none_or(|c| c as u8 == n), "{n}");
        }
    }

    #[test]
    fn payment_is_kept_30_days_addresses_90_activity_180_the_rest_for_good() {
        let days = Class::ALL.map(|c| c.retention_powered_hours().map(|h| (h / 24, h % 24)));
        let (payment, address, activity) = (Some((30, 0)), Some((90, 0)), Some((180, 0)));
        assert_eq!(
            days,
            [
                None, None, address, address, payment, address, None, activity
            ]
        );
    }
}
