//! Short reads: how to continue after one, and when it is a failure.
//!
//! A system may return fewer bytes than were asked for at any time: at a signal, at a device's boundary, at the end of the
//! file. All loops over reads ask [`advance`] what a result means.

use std::io::{Error, ErrorKind, Result};

/// Number of bytes that have arrived after a read that began at `done`; at least `needed` if the read is complete.
///
/// The next read begins at a multiple of `step`, as direct reads must. Errors: the read's, unless a signal interrupted it; or
/// the file has ended, which a read that does not advance by one step means.
pub(super) fn advance(done: usize, result: Result<usize>, needed: usize, step: usize) -> Result<usize> {
    match result {
        Ok(n) if done + n >= needed => Ok(done + n),
        Ok(n) => {
            let whole = (done + n) / step * step;
            if whole > done { Ok(whole) } else { Err(ends_early()) }
        }
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(done),
        Err(e) => Err(e),
    }
}

/// Fills `out` with what `read_at` reads from `offset`; the file may end once `needed` bytes have arrived.
///
/// Errors: as for [`advance`].
pub(super) fn read_whole(
    out: &mut [u8],
    offset: u64,
    needed: usize,
    step: usize,
    mut read_at: impl FnMut(&mut [u8], u64) -> Result<usize>,
) -> Result<()> {
    let mut done = 0;
    while done < needed {
        done = advance(done, read_at(&mut out[done..], offset + done as u64), needed, step)?;
    }
    Ok(())
}

/// The error of a read that ends before the tensor does according to the file's header.
pub(super) fn ends_early() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the file ends early: has it been changed?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    /// A file whose reads are short at random.
    struct Erratic {
        seed: u64,
        bytes: Vec<u8>,
        /// Except at its end it returns whole steps, and it takes only offsets that are multiples of one.
        step: usize,
        /// Cannot be read.
        bad: Range<u64>,
        calls: usize,
    }

    impl Erratic {
        fn random(&mut self, below: usize) -> usize {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.seed >> 33) as usize % below
        }

        fn read_at(&mut self, out: &mut [u8], offset: u64) -> Result<usize> {
            self.calls += 1;
            assert!(self.calls < 10_000, "it comes to an end");
            assert!(offset.is_multiple_of(self.step as u64), "a direct read at {offset}");
            if self.random(4) == 0 {
                return Err(Error::from(ErrorKind::Interrupted));
            }
            let left = &self.bytes[usize::try_from(offset).unwrap().min(self.bytes.len())..];
            let mut n = left.len().min(out.len());
            if self.random(2) == 0 && n > self.step {
                n = (1 + self.random(n / self.step)) * self.step;
            }
            if n > 0 && self.bad.start < offset + n as u64 && offset < self.bad.end {
                return Err(Error::from_raw_os_error(5));
            }
            let left = &self.bytes[usize::try_from(offset).unwrap().min(self.bytes.len())..];
            out[..n].copy_from_slice(&left[..n]);
            Ok(n)
        }
    }

    /// Reads from a file that is sometimes too short or broken; returns what came and what should have.
    fn read(seed: u64, step: usize) -> (Result<Vec<u8>>, Result<Vec<u8>>) {
        let mut file = Erratic { seed, bytes: Vec::new(), step, bad: 0..0, calls: 0 };
        file.random(7);
        let len = file.random(9000);
        file.bytes = (0..len).map(|i| ((i * 31) >> 3) as u8).collect();
        let offset = file.random(9000) / step * step;
        let needed = 1 + file.random(3000);
        if file.random(4) == 0 {
            let start = file.random(9000) as u64;
            file.bad = start..start + 600;
        }
        let mut out = vec![0; needed.next_multiple_of(step)];
        let found = read_whole(&mut out, offset as u64, needed, step, |out, at| file.read_at(out, at));
        let broken = file.bad.start < (offset + out.len()).min(len) as u64 && (offset as u64) < file.bad.end;
        let expected = match offset + needed <= len {
            _ if broken => Err(Error::from_raw_os_error(5)),
            true => Ok(file.bytes[offset..offset + needed].to_vec()),
            false => Err(ends_early()),
        };
        (found.map(|()| out[..needed].to_vec()), expected)
    }

    #[test]
    fn short_reads_and_signals_change_nothing_and_ends_and_errors_are_told() {
        let mut outcomes = [0; 3];
        for (seed, step) in (0..3000).flat_map(|seed| [1, 512].map(|step| (seed, step))) {
            let (found, expected) = read(seed, step);
            match (&found, &expected) {
                (Ok(found), Ok(expected)) if found == expected => outcomes[0] += 1,
                (Err(found), Err(expected)) if found.kind() == expected.kind() => {
                    outcomes[if found.raw_os_error() == Some(5) { 1 } else { 2 }] += 1;
                }
                // A read that stops before the bad bytes, or asks for some that it does not need, may do without them.
                (Ok(_), Err(broken)) if broken.raw_os_error() == Some(5) => {}
                (Err(early), Err(_)) if early.kind() == ErrorKind::UnexpectedEof => {}
                _ => panic!("seed {seed}, step {step}: {found:?} and not {expected:?}"),
            }
        }
        assert!(outcomes.iter().all(|n| *n > 100), "{outcomes:?}");
    }

    #[test]
    fn a_direct_read_goes_on_at_a_whole_block() {
        assert_eq!(advance(0, Ok(5000), 10_000, 4096).unwrap(), 4096);
        assert_eq!(advance(4096, Ok(100), 10_000, 4096).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(advance(8192, Ok(1900), 10_000, 4096).unwrap(), 10_092);
    }
}
