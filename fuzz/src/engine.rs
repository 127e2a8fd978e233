//! The loop: mutate, run, keep what is new, stop at a failure.
//!
//! [`fuzz`] runs a [`Target`] as a [`Plan`] says and returns a [`Report`] or the [`Failure`] that ended it. All
//! randomness comes from the plan's seed, so a run is repeated by repeating its plan; only the clock can end it
//! elsewhere. The loop knows nothing of formats: seeds and dictionary come from the target.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::coverage;
use crate::memory::{MEMORY_LIMIT_BYTES, measured};
use crate::mutate::{Material, mutated};
use crate::target::Target;

/// Inputs kept beside the seeds at most.
const CORPUS: usize = 20_000;

/// Runs between two looks at the clock.
const RUNS_PER_LOOK: u64 = 256;

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What all randomness comes from.
    pub seed: u64,
    /// Inputs to run at most, seeds included.
    pub runs: u64,
    /// Time to take at most.
    pub time: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Inputs that were run.
    pub runs: u64,
    /// Inputs from which mutation went on: the seeds and those that reached something new.
    pub corpus: usize,
    /// Different regions of code, with orders of magnitude, and outcomes.
    pub features: usize,
    /// The most memory that one input asked for.
    pub peak_bytes: usize,
    /// Whether coverage counters guided the search.
    pub guided: bool,
}

/// An input that broke its target.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The input.
    pub input: Vec<u8>,
    /// The panic's message or the memory asked for.
    pub problem: String,
    /// How many inputs had run before.
    pub runs: u64,
}

/// Runs the target on its seeds and on mutations of them.
///
/// Errors: the first input at which it panicked or held more than [`MEMORY_LIMIT_BYTES`].
pub fn fuzz(target: &Target, plan: Plan) -> Result<Report, Box<Failure>> {
    let mut search = Search::new(target, plan.seed);
    let start = Instant::now();
    for seed in (target.seeds)() {
        let ran = search.run(&seed)?;
        search.words.extend(words(&ran.outcome).map(str::to_owned));
        search.note(&ran);
        search.corpus.push(seed);
    }
    while search.runs < plan.runs && (!search.runs.is_multiple_of(RUNS_PER_LOOK) || start.elapsed() < plan.time) {
        let input = search.next_input();
        let ran = search.run(&input)?;
        if search.note(&ran) && search.corpus.len() < CORPUS {
            search.corpus.push(input);
        }
    }
    Ok(search.report())
}

struct Search<'a> {
    target: &'a Target,
    rng: ChaCha8Rng,
    corpus: Vec<Vec<u8>>,
    /// Words of the seeds' outcomes: those of the program's messages, hardly any of an input's.
    words: HashSet<String>,
    features: HashSet<u64>,
    runs: u64,
    peak_bytes: usize,
}

/// What a run left.
struct Ran {
    outcome: String,
    reached: Vec<u64>,
}

impl<'a> Search<'a> {
    fn new(target: &'a Target, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (words, features) = (HashSet::new(), HashSet::new());
        Search { target, rng, corpus: Vec::new(), words, features, runs: 0, peak_bytes: 0 }
    }

    /// A mutation of one of the corpus, of the newer ones more often.
    fn next_input(&mut self) -> Vec<u8> {
        let newest = self.corpus.len();
        let place = self.rng.random_range(0..newest).max(self.rng.random_range(0..newest));
        let material = Material { corpus: &self.corpus, dictionary: self.target.dictionary };
        mutated(&self.corpus[place], &material, &mut self.rng)
    }

    fn run(&mut self, input: &[u8]) -> Result<Ran, Box<Failure>> {
        let run = self.target.run;
        coverage::reset();
        let (result, peak_bytes) = measured(input, |input| catch_unwind(AssertUnwindSafe(|| run(input))));
        let reached = coverage::reached();
        let failure = |problem| Box::new(Failure { input: input.to_vec(), problem, runs: self.runs });
        let outcome = result.map_err(|panic| failure(panic_message(&*panic)))?;
        if peak_bytes > MEMORY_LIMIT_BYTES {
            return Err(failure(format!("held {} MiB", peak_bytes >> 20)));
        }
        self.runs += 1;
        self.peak_bytes = self.peak_bytes.max(peak_bytes);
        Ok(Ran { outcome, reached })
    }

    /// Notes what a run reached; returns whether any of it is new.
    fn note(&mut self, ran: &Ran) -> bool {
        let n_before = self.features.len();
        self.features.extend(&ran.reached);
        self.features.insert(self.outcome_feature(&ran.outcome));
        self.features.len() > n_before
    }

    /// The outcome without numbers and names from the input, which would make every outcome a new one.
    fn outcome_feature(&self, outcome: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        words(outcome).filter(|word| self.words.contains(*word)).for_each(|word| word.hash(&mut hasher));
        hasher.finish()
    }

    fn report(&self) -> Report {
        Report {
            runs: self.runs,
            corpus: self.corpus.len(),
            features: self.features.len(),
            peak_bytes: self.peak_bytes,
            guided: coverage::AVAILABLE,
        }
    }
}

fn words(outcome: &str) -> impl Iterator<Item = &str> {
    outcome.split(' ').filter(|word| word.chars().all(|c| c.is_ascii_alphabetic()))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("without a message"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let guide = if self.guided { "coverage counters" } else { "outcomes alone" };
        let Report { runs, corpus, features, peak_bytes, .. } = self;
        write!(f, "{runs} runs guided by {guide}: corpus {corpus}, features {features}, peak {} KiB", peak_bytes >> 10)
    }
}
