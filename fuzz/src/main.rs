//! Runs the fuzz targets for some time: `fuzz [--target NAME] [--seconds N] [--seed N]`, or `fuzz --replay FILE`.
//!
//! `just fuzz 60` compiles this with coverage counters. An input that breaks its target is saved under
//! `target/fuzz-failures`, and the exit status is 1. Arguments are read by hand: a parser's code would be counted and
//! scanned with the target's after each run.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fuzz::{Failure, MEMORY_LIMIT_BYTES, Plan, TARGETS, Target, fuzz, save_input_at_exhaustion};

const FAILURES: &str = "target/fuzz-failures";

struct Arguments {
    target: &'static Target,
    seconds: u64,
    seed: u64,
    replay: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = parse(env::args().skip(1))?;
    let target = arguments.target;
    if let Some(path) = &arguments.replay {
        let input = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        println!("{}: {}", path.display(), (target.run)(&input));
        return Ok(());
    }
    fs::create_dir_all(FAILURES).with_context(|| format!("cannot make {FAILURES}"))?;
    save_input_at_exhaustion(Path::new(FAILURES).join(format!("{}-{}-memory", target.name, arguments.seed)));
    println!("{}: seed {}, {} seconds", target.name, arguments.seed, arguments.seconds);
    let start = Instant::now();
    let time = Duration::from_secs(arguments.seconds);
    match fuzz(target, Plan { seed: arguments.seed, runs: u64::MAX, time }) {
        Ok(report) => {
            let runs_per_second = report.runs as f64 / start.elapsed().as_secs_f64();
            println!("{}: no failure in {report}, {runs_per_second:.0} runs/s", target.name);
            Ok(())
        }
        Err(failure) => report_failure(&arguments, &failure),
    }
}

fn report_failure(arguments: &Arguments, failure: &Failure) -> Result<()> {
    let (name, seed, runs) = (arguments.target.name, arguments.seed, failure.runs);
    let path = Path::new(FAILURES).join(format!("{name}-{seed}-{runs}"));
    fs::write(&path, &failure.input).with_context(|| format!("cannot write {}", path.display()))?;
    bail!(
        "{name}: {} (limit {} MiB) after {runs} runs of seed {seed}; the input of {} bytes is in {path}; \
         see it again with `cargo run -p fuzz -- --target {name} --replay {path}`",
        failure.problem,
        MEMORY_LIMIT_BYTES >> 20,
        failure.input.len(),
        path = path.display()
    )
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
    let seed = RandomState::new().hash_one(0) >> 32;
    let mut arguments = Arguments { target: &TARGETS[0], seconds: 60, seed, replay: None };
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--target" => arguments.target = find_target(&value)?,
            "--seconds" => arguments.seconds = value.parse().context("--seconds is a number")?,
            "--seed" => arguments.seed = value.parse().context("--seed is a number")?,
            "--replay" => arguments.replay = Some(value.into()),
            _ => bail!("{flag} is none of --target, --seconds, --seed, --replay"),
        }
    }
    Ok(arguments)
}

fn find_target(name: &str) -> Result<&'static Target> {
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .with_context(|| format!("no target {name}; there are {}", known()))
}
