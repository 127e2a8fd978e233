//! How work is cut into tasks: large ones first and small ones last.
//!
//! Every thread first takes half of its share, then half of what is left of it, and so on. Few tasks are taken, each is
//! one long run of memory, and no thread can be behind by more than a small one at the end.

use std::ops::Range;

/// Below this many elements an elementwise step is not worth waking threads for.
pub(super) const MIN_ELEMENTS_TO_SPLIT: usize = 16 << 10;

/// `n` units cut into tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    n: usize,
    /// Units of a task at least, but for the last.
    least: usize,
    threads: usize,
}

impl Split {
    /// Cuts `n` units for so many threads, into tasks of `least` units and more.
    pub(super) fn new(n: usize, least: usize, threads: usize) -> Split {
        // One thread has nobody to share with.
        Split { n, least: if threads == 1 { n.max(1) } else { least.max(1) }, threads }
    }

    /// The number of tasks.
    pub(super) fn n_tasks(self) -> usize {
        self.rounds().map(|(units, size)| units.len().div_ceil(size)).sum()
    }

    /// The units of a task. Panics if there is no such task.
    pub(super) fn units(self, mut task: usize) -> Range<usize> {
        for (units, size) in self.rounds() {
            let n_tasks = units.len().div_ceil(size);
            if task < n_tasks {
                let start = units.start + task * size;
                return start..units.end.min(start + size);
            }
            task -= n_tasks;
        }
        panic!("{task} more than there are tasks");
    }

    /// Runs of units and the size of their tasks. A round is one task for each thread; the last is all that is left.
    fn rounds(self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let left = self.n - start;
            let size = (left / (2 * self.threads)).max(self.least);
            let end = if size == self.least { self.n } else { start + size * self.threads };
            let round = (start < self.n).then_some((start..end, size));
            start = end;
            round
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_all_units_once_and_in_order() {
        for (n, least, threads) in (0..70).flat_map(|n| (1..5).flat_map(move |l| [1, 2, 3, 16].map(|t| (n, l, t)))) {
            let split = Split::new(n, least, threads);
            let tasks: Vec<Range<usize>> = (0..split.n_tasks()).map(|task| split.units(task)).collect();
            let units: Vec<usize> = tasks.iter().cloned().flatten().collect();
            assert_eq!(units, (0..n).collect::<Vec<_>>(), "{split:?}");
            let but_last = &tasks[..tasks.len().saturating_sub(1)];
            assert!(but_last.iter().all(|task| task.len() >= least), "{split:?}: {tasks:?}");
        }
    }

    #[test]
    fn threads_that_are_equally_fast_end_together() {
        for threads in [2, 3, 16] {
            let split = Split::new(10_000, 4, threads);
            let mut done = vec![0; threads];
            for task in 0..split.n_tasks() {
                *done.iter_mut().min().unwrap() += split.units(task).len();
            }
            assert!(done.iter().max().unwrap() - done.iter().min().unwrap() <= 4, "{done:?}");
            assert!(split.n_tasks() <= threads * 12, "{} tasks", split.n_tasks());
        }
    }

    #[test]
    fn one_thread_has_one_task() {
        assert_eq!(Split::new(1000, 2, 1).n_tasks(), 1);
    }
}
