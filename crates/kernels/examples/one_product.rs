//! Multiplies one matrix some times and does nothing else, for tools that count instructions.
//!
//! `one_product FORMAT TIER ROWS COLS TOKENS TIMES`: the difference between two runs of which one multiplies once more is
//! what one product takes. `scripts/count-instructions.sh` does so.

use kernels::{Kernels, QuantType};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, tier, sizes @ ..] = &args[..] else { panic!("FORMAT TIER ROWS COLS TOKENS TIMES") };
    let sizes: Vec<usize> = sizes.iter().map(|size| size.parse().expect("sizes are numbers")).collect();
    let [rows, cols, tokens, times] = sizes[..] else { panic!("FORMAT TIER ROWS COLS TOKENS TIMES") };
    let format = QuantType::formats().iter().find(|format| format.name == name).expect("a format's name");
    let kernels = Kernels::by_name(tier).expect("a tier that this processor can run");
    let weights = vec![1; rows * format.quant.row_bytes(cols).expect("whole blocks")];
    let activations = vec![0; tokens * format.activation.row_bytes(cols)];
    let mut out = vec![0.0; rows * tokens];
    for _ in 0..times {
        kernels.matmul(format.quant, cols, &weights, &activations, &mut out);
    }
    std::hint::black_box(out);
}
