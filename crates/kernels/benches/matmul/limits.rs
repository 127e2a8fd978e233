//! What a machine allows: bytes that its memory gives, cycles of its clock, and operations that its instructions do in one.
//!
//! The rate of memory and the clock are measured. The operations in a cycle are not, since that takes instructions that
//! only the kernels themselves use; they come from a table, and what it assumes is printed.

use std::hint::black_box;
use std::time::Instant;

use kernels::ActivationType;

use crate::rounds::{self, Lane};

/// Bytes that a thread reads in a round.
const READ_BYTES: usize = 8 << 20;

/// Words that are taken together: eight registers of 128 bits, so that none waits for another.
const WORDS: usize = 16;

/// Steps in a round that measures the clock: about half a millisecond.
const CLOCK_STEPS: u64 = 1 << 20;

/// Cycles of such a step: an addition, then an exclusive or that needs it.
const CYCLES_PER_STEP: f64 = 2.0;

/// What this many threads could reach at once.
pub(crate) struct Limits {
    pub(crate) threads: usize,
    /// Bytes a second that they read together.
    pub(crate) bytes_per_second: f64,
    /// Cycles a second of each, on average, under scalar code; wide vectors may lower it.
    pub(crate) hz: f64,
}

/// Operations that a core does in a cycle at most; a multiplication and its addition are two.
#[derive(Clone, Copy)]
pub(crate) struct PerCycle {
    pub(crate) int8: f64,
    pub(crate) f32: f64,
    pub(crate) assumes: &'static str,
}

impl Limits {
    pub(crate) fn measure(lanes: &mut [Lane]) -> Limits {
        let threads = lanes.len();
        let [read, _] = rounds::fastest(lanes, [&read_slab, &time_chain]);
        let hz = lanes.iter().map(|lane| lane.hz).sum::<f64>() / threads as f64;
        Limits { threads, bytes_per_second: read_rate(threads, read), hz }
    }

    /// Operations a second of all threads together with the instructions of a tier; `None` if the table has no such tier.
    pub(crate) fn peak(&self, tier: &str, activation: ActivationType) -> Option<f64> {
        let per_cycle = per_cycle(tier)?;
        let operations = if activation == ActivationType::F32 { per_cycle.f32 } else { per_cycle.int8 };
        Some(operations * self.hz * self.threads as f64)
    }
}

/// Reads bytes half of the lane away from those that a product takes in the same round, which caches now hold.
pub(crate) fn read_slab(lane: &mut Lane, round: usize) {
    let half = lane.weights.len() / READ_BYTES / 2;
    black_box(read(Lane::slab(&lane.weights, round + half, READ_BYTES)));
}

/// Bytes a second of threads, given how many seconds each took for [`read_slab`].
pub(crate) fn read_rate(threads: usize, seconds: f64) -> f64 {
    (threads * READ_BYTES) as f64 / seconds
}

/// Reads all bytes in the cheapest way that cannot be left out.
fn read(bytes: &[u8]) -> [u64; WORDS] {
    let (words, _) = bytes.as_chunks::<8>();
    let (strides, _) = words.as_chunks::<WORDS>();
    let mut seen = [0; WORDS];
    for stride in strides {
        seen.iter_mut().zip(stride).for_each(|(seen, word)| *seen ^= u64::from_le_bytes(*word));
    }
    seen
}

/// Measures the clock. Each thread for itself: one that has to wait for its core is not slower meanwhile.
fn time_chain(lane: &mut Lane, round: usize) {
    let begun = Instant::now();
    black_box(chain(black_box(round as u64), black_box(0x9E37_79B9)));
    lane.hz = lane.hz.max(CLOCK_STEPS as f64 * CYCLES_PER_STEP / begun.elapsed().as_secs_f64());
}

/// Steps of which each needs the one before. The compiler cannot take two together, since additions and exclusive ors do
/// not mix.
fn chain(x: u64, y: u64) -> u64 {
    (0..CLOCK_STEPS).fold(x, |x, _| x.wrapping_add(y) ^ y)
}

/// What a core of this machine does in a cycle with the instructions of a tier.
///
/// Sources: the manufacturers' guides to optimisation (Intel's manual; AMD's guides to Zen 4 and Zen 5; Arm's guide to
/// Neoverse N1) and the measurements of uops.info.
pub(crate) fn per_cycle(tier: &str) -> Option<PerCycle> {
    let of = |int8, f32, assumes| Some(PerCycle { int8, f32, assumes });
    match tier {
        "scalar" => None,
        _ if tier.starts_with("avx512") && has_half_width_avx512(&Cpu::read()) => {
            of(128.0, 32.0, "a core whose 512-bit instructions take two turns of 256 bits: one vpdpbusd or FMA a cycle")
        }
        _ if tier.starts_with("avx512") => {
            of(256.0, 64.0, "a core with two full 512-bit units: two vpdpbusd or FMA a cycle")
        }
        _ if tier.contains("vnni") => of(128.0, 32.0, "two 256-bit vpdpbusd or FMA a cycle"),
        _ if tier.starts_with("avx2") => {
            of(64.0, 32.0, "two 256-bit multiplications a cycle, of which 32 products need two (vpmaddubsw, vpmaddwd)")
        }
        _ if tier.contains("i8mm") => {
            of(128.0, 16.0, "two 128-bit smmla or fmla a cycle, as on Neoverse N1's successors")
        }
        _ if tier.starts_with("neon") => of(64.0, 16.0, "two 128-bit sdot or fmla a cycle, as on Neoverse N1"),
        _ => None,
    }
}

/// What the system says of the processor; empty where it is not Linux.
pub(crate) struct Cpu {
    pub(crate) name: String,
    vendor: String,
    family: u32,
    model: u32,
}

impl Cpu {
    pub(crate) fn read() -> Cpu {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let mut values = text.lines().filter_map(|line| line.split_once(':')).filter(|(key, _)| key.trim() == name);
            values.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let number = |name: &str| field(name).parse().unwrap_or(0);
        Cpu {
            name: Some(field("model name")).filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
            vendor: field("vendor_id"),
            family: number("cpu family"),
            model: number("model"),
        }
    }
}

/// Zen 4, and the Zen 5 of laptops (Strix Point, Krackan Point). Intel's cores are taken for those of servers.
fn has_half_width_avx512(cpu: &Cpu) -> bool {
    let is_small_zen5 = cpu.family == 0x1A && matches!(cpu.model, 0x20..=0x2F | 0x60..=0x6F);
    cpu.vendor == "AuthenticAMD" && (cpu.family == 0x19 || is_small_zen5)
}
