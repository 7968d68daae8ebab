//! Changes of settings at run time, declared.

/// Declares a change of settings: each is optional here, and of the same name and type in what is changed. `as` says how it is written
/// where that is by another name; `with` has groups of settings, each of which has a change of its own.
///
/// So a setting that may change at run time is one line here.
macro_rules! change {
    (
        $(#[$attribute:meta])*
        pub struct $change:ident of $spec:ident {
            $($(#[$field_attribute:meta])* $field:ident $(as $name:literal)?: $kind:ty),* $(,)?
        } $(with {
            $($(#[$group_attribute:meta])* $group:ident: $group_kind:ty),* $(,)?
        })?
    ) => {
        $(#[$attribute])*
        #[serde(deny_unknown_fields)]
        pub struct $change {
            $(
                $(#[$field_attribute])*
                #[serde(default, skip_serializing_if = "Option::is_none" $(, rename = $name)?)]
                pub $field: Option<$kind>,
            )*
            $($(
                $(#[$group_attribute])*
                #[serde(default, skip_serializing_if = "crate::config::value::is_default")]
                pub $group: $group_kind,
            )*)?
        }

        impl $change {
            const NAMES: &'static [&'static str] =
                &[$($crate::config::declared::change!(@name $field $($name)?),)* $($(stringify!($group)),*)?];

            /// Names of what may change.
            #[must_use]
            pub fn fields() -> String {
                $crate::config::declared::either(Self::NAMES)
            }

            /// Whether nothing is given.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// Whether `spec` has the settings already.
            #[must_use]
            pub fn is_in(&self, spec: &$spec) -> bool {
                let mut changed = spec.clone();
                self.set(&mut changed);
                changed == *spec
            }

            /// Gives `spec` the settings that are given.
            pub(in crate::config) fn set(&self, spec: &mut $spec) {
                $(if let Some(value) = &self.$field {
                    spec.$field.clone_from(value);
                })*
                $($(self.$group.set(&mut spec.$group);)*)?
            }

            /// All that is given in either, `next` going before.
            pub(in crate::config) fn or(self, next: Self) -> Self {
                Self {
                    $($field: next.$field.or(self.$field),)*
                    $($($group: self.$group.or(next.$group),)*)?
                }
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}
pub(super) use change;

/// `a, b or c`.
pub(super) fn either(names: &[&str]) -> String {
    match names {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => names.concat(),
    }
}
