//! Soft capping: numbers bent smoothly into a range.

/// Replaces each `x` by `cap * tanh(x / cap)`.
///
/// Every tier runs this function and multiplies and adds in the order written here, so all give the same bits.
#[inline(always)]
pub(crate) fn soft_cap(x: &mut [f32], cap: f32) {
    let inverse = 1.0 / cap;
    x.iter_mut().for_each(|x| *x = cap * tanh(*x * inverse));
}

/// Beyond this, tanh rounds to 1.
const LAST: f32 = 7.998_812;

/// The odd numerator's coefficients of `tanh`, highest first. Source: Eigen's `generic_fast_tanh_float`.
const NUMERATOR: [f32; 7] =
    [-2.760_768_5e-16, 2.000_188e-13, -8.604_672e-11, 5.122_297_1e-8, 1.485_722_4e-5, 6.372_619_3e-4, 4.893_524_6e-3];

/// The even denominator's coefficients, highest first.
const DENOMINATOR: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];

/// A rational approximation without branches, which the compiler vectorises, at most 4 units off. NaN stays NaN.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let x = x.clamp(-LAST, LAST);
    let square = x * x;
    let polynomial = |coefficients: &[f32]| coefficients.iter().fold(0.0, |sum, c| sum * square + c);
    x * polynomial(&NUMERATOR) / polynomial(&DENOMINATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_a_few_units_everywhere() {
        for x in (-100_000..100_000).map(|i| i as f32 * 1e-4).chain([1e-30, 1e30, f32::INFINITY]) {
            let want = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - want).abs();
            assert!(error <= 4.0 * f64::from(f32::EPSILON) * want.abs(), "{x}: {} {want}", tanh(x));
        }
        assert!(tanh(f32::NAN).is_nan());
    }
}
