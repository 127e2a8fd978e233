//! Table entries made of functions that need a tier's instructions.

/// A function of these arguments that anyone may call, for a tier's table.
macro_rules! door {
    (|$($arg:ident),*| $inner:path) => {
        |$($arg),*| {
            // SAFETY: `tiers` hands a table out only if the processor has the instructions of its entries.
            unsafe { $inner($($arg),*) }
        }
    };
}

pub(in crate::simd) use door;
