//! Names of ggml's tensor types, for error messages about unsupported ones.
//!
//! The supported types and their sizes are the table of formats in the `kernels` crate, which is asked first: a type that
//! becomes supported may stay in the list here.

/// Type numbers and names, including the ones that ggml has removed.
const NAMES: &[(u32, &str)] = &[
    (4, "Q4_2, removed from ggml in 2023"),
    (5, "Q4_3, removed from ggml in 2023"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4, removed from ggml: use Q4_0"),
    (32, "Q4_0_4_8, removed from ggml: use Q4_0"),
    (33, "Q4_0_8_8, removed from ggml: use Q4_0"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4, removed from ggml: use IQ4_NL"),
    (37, "IQ4_NL_4_8, removed from ggml: use IQ4_NL"),
    (38, "IQ4_NL_8_8, removed from ggml: use IQ4_NL"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// The name of the type with this number, if ggml has or had it and this program does not support it.
pub(super) fn unsupported_type_name(id: u32) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}
