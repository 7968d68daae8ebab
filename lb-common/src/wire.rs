//! Enums that cross between kernel and user space as integers.

/// Declares an enum of small integers with its names for people: `ALL`, `name()`, `from_wire()`, `wire()`.
///
/// A map stores the integer, so that a value written by another version can never be an invalid enum.
#[macro_export]
macro_rules! wire_enum {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident { $($(#[$variant_attribute:meta])* $variant:ident = $value:literal => $label:literal),* $(,)? }
    ) => {
        $(#[$attribute])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_attribute])* $variant = $value),* }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name that the CLI, the configuration and the metrics use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }

            /// The integer in the map.
            #[must_use]
            #[inline(always)]
            pub const fn wire(self) -> u8 {
                self as u8
            }

            /// The variant of an integer from a map, `None` for one that this version does not know.
            #[must_use]
            #[inline(always)]
            pub const fn from_wire(raw: u8) -> Option<Self> {
                match raw { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
