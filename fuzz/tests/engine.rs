//! The fuzzer finds what is broken, and the program's own targets survive a short run of it.
//!
//! Broken targets stand in for bugs: one panics deep inside, one asks for too much memory. Every run here is the same
//! each time: a fixed seed and a fixed number of inputs.

use std::time::Duration;

use fuzz::{MEMORY_LIMIT_BYTES, Plan, TARGETS, Target, fuzz};

fn plan(runs: u64) -> Plan {
    Plan { seed: 7, runs, time: Duration::MAX }
}

fn broken(run: fn(&[u8]) -> String) -> Target {
    Target { name: "broken", seeds: || vec![b"GGUF".to_vec()], dictionary: &[], run }
}

#[test]
fn every_target_survives_its_seeds_and_their_mutations() {
    for target in TARGETS {
        let report = fuzz(target, plan(20_000)).unwrap_or_else(|failure| panic!("{}: {failure:?}", target.name));
        assert!(report.corpus > (target.seeds)().len(), "nothing new was found: {report}");
        assert!(report.peak_bytes < MEMORY_LIMIT_BYTES / 16, "{report}");
    }
}

#[test]
fn a_panic_behind_two_steps_is_found_with_its_input() {
    let target = broken(|input| match input {
        [0x80, 0x7f, ..] => panic!("the bug at {}", input.len()),
        [0x80, ..] => "first step".to_owned(),
        _ => "nothing".to_owned(),
    });
    let failure = fuzz(&target, plan(200_000)).expect_err("the bug should be found");
    assert!(failure.problem.contains("the bug at"), "{failure:?}");
    assert!(failure.input.starts_with(&[0x80, 0x7f]));
}

#[test]
fn too_much_memory_is_a_failure() {
    let target = broken(|input| {
        let n_bytes = if input.len() > 4 { MEMORY_LIMIT_BYTES + 1 } else { 0 };
        Vec::<u8>::with_capacity(n_bytes).capacity().to_string()
    });
    let failure = fuzz(&target, plan(10_000)).expect_err("the memory should be noticed");
    assert!(failure.problem.contains("MiB"), "{failure:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let target = &TARGETS[0];
    let report = || fuzz(target, plan(3000)).map(|report| (report.runs, report.corpus)).expect("no failure");
    assert_eq!(report(), report());
}
