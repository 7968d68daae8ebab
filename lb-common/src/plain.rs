//! Layout proofs: a map value is a run of integers with no byte between them.

/// A type that is integers all through: every bit pattern is a value, and no byte is padding.
///
/// # Safety
/// Implementors have no padding, no pointer, and accept any bit pattern.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($integer:ty),*) => {
        $(
            // SAFETY: a primitive integer has no padding and no invalid bit pattern.
            unsafe impl Plain for $integer {}
        )*
    };
}
plain!(u8, u16, u32, u64);

// SAFETY: an array adds no padding between elements that have none.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Declares a struct that lives in a BPF map.
///
/// Adds `repr(C)`, the alignment of the widest access (the code generator copies by whole words, and the verifier refuses those
/// that are not aligned on the stack), an order (of no meaning, but always the same), a compile-time proof that each field is [`Plain`] and that
/// the fields fill the struct without padding, and, with the feature `user`, `aya::Pod`.
#[macro_export]
macro_rules! map_struct {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident { $($(#[$field_attribute:meta])* $visibility:vis $field:ident: $kind:ty),* $(,)? }
    ) => {
        $(#[$attribute])*
        #[repr(C, align(8))]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name { $($(#[$field_attribute])* $visibility $field: $kind),* }

        const _: () = {
            const fn plain<T: $crate::plain::Plain>() {}
            $(plain::<$kind>();)*
            assert!(
                core::mem::size_of::<$name>() == 0 $(+ core::mem::size_of::<$kind>())*,
                concat!(stringify!($name), " has padding: name it as a field"),
            );
        };

        // SAFETY: the assertion above proves that every field is plain and that no byte lies between them.
        unsafe impl $crate::plain::Plain for $name {}

        #[cfg(feature = "user")]
        // SAFETY: as for `Plain`, which asks for the same.
        unsafe impl aya::Pod for $name {}
    };
}
