//! The typed data classes and their retention rules.

use crate::wire::codec::Named;

/// Declares the classes: enum, list, words and numbers from one place, so that
/// none can be forgotten in another.
macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// A class of account data. Each has a key of its own, so that
        /// `forget(class)` destroys exactly that class, at once.
        ///
        /// ```
        /// use nrd_agent::{Class, Error};
        /// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
        /// # let mut service = StubService::new(1);
        /// # let device = TestPlatform::builder().build(&service);
        /// # let mut memory = TestMemory::default();
        /// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
        /// # service.serve(&mut agent).unwrap();
        /// # agent.start_activation().unwrap();
        /// # service.serve(&mut agent).unwrap();
        /// agent.put(Class::Payment, 1, b"card ending 4242").unwrap();
        /// agent.put(Class::Profiles, 1, b"Children").unwrap();
        ///
        /// agent.forget(Class::Payment).unwrap();
        /// let mut value = [0; 64];
        /// assert_eq!(agent.get(Class::Payment, 1, &mut value), Err(Error::NotFound));
        /// assert_eq!(agent.get(Class::Profiles, 1, &mut value), Ok(8));
        ///
        /// // Addresses go by themselves after 90 days of being switched on.
        /// assert_eq!(Class::Email.retention_powered_hours(), Some(90 * 24));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Named)]
        #[repr(u8)]
        pub enum Class {
            $($(#[$doc])* $name = $number,)*
        }

        impl Class {
            /// The class of a number.
            pub fn from_number(n: u8) -> Option<Class> {
                match n {
                    $($number => Some(Class::$name),)*
                    _ => None,
                }
            }
        }
    };
}

classes! {
    /// The session itself; the agent's own, not for callers.
    Session = 0,
    /// Name and nickname.
    Name = 1,
    /// Postal address.
    #[named("address")]
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

// Found: a ninth class compiled without a warning. Its values were acknowledged
// and could not be read, and the slot that could not hold its salt locked the
// device at the next boot. What depends on the number of classes is counted from
// `ALL` now; where flash has no room for one more, `log/format.rs` (the class's
// bits in a record's header) and `slot.rs` (its salt) refuse to compile.
const _: () = {
    let (mut classes, mut number) = (Class::ALL, 0);
    while let [class, later @ ..] = classes {
        assert!(
            *class as u8 == number,
            "classes are numbered from 0, without a gap"
        );
        (classes, number) = (later, number + 1);
    }
};

impl Class {
    /// The class in words, such as "postal address".
    pub const fn words(self) -> &'static str {
        match self {
            Class::Session => "session",
            Class::Name => "name",
            Class::PostalAddress => "postal address",
            Class::Email => "e-mail",
            Class::Payment => "payment",
            Class::Telephone => "telephone",
            Class::Profiles => "profiles",
            Class::Activity => "activity",
        }
    }

    /// Retention of a value after it was written, in powered hours; `None`
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
        let days = |c: &Class| c.retention_powered_hours().map(|h| (h / 24, h % 24));
        let (payment, address, activity) = (Some((30, 0)), Some((90, 0)), Some((180, 0)));
        let expected = [
            None, None, address, address, payment, address, None, activity,
        ];
        assert!(Class::ALL.iter().map(days).eq(expected));
    }
}
