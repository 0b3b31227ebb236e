//! Families of constants: enums in the header, `uint32_t` or `int32_t` as parameters and fields.

use crate::support::error::{Error, Result};

/// A family of constants, with the names that the header gives them.
pub(super) trait Family: Copy + 'static {
    const ALL: &'static [(Self, u32, &'static str)];

    /// The constant of this number, or an error that lists those that there are.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    fn choose(value: u32, name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(_, number, _)| *number == value);
        found.map(|(constant, _, _)| *constant).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(_, number, name)| format!("{name} ({number})")).collect();
            Error::Invalid(format!("{name} is {value}; it must be one of {}", known.join(", ")))
        })
    }
}

/// Implements [`Family`] for an enum, whose members are named as in the header.
macro_rules! family {
    ($type:ident: $($member:ident),+ $(,)?) => {
        pub use $type::*;
        impl $crate::ffi::family::Family for $type {
            const ALL: &'static [(Self, u32, &'static str)] =
                &[$((Self::$member, Self::$member as u32, stringify!($member))),+];
        }
    };
}
pub(super) use family;
