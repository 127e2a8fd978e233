//! Which sequence has which place in the cache, and how many tokens.

use super::KvOps;
use crate::{Batch, ForwardError, Row, SeqId};

/// A place in the cache and who has it.
#[derive(Clone, Copy, Debug)]
struct Place {
    seq: SeqId,
    len: usize,
}

/// The sequences in the cache.
#[derive(Debug)]
pub(crate) struct Sequences {
    ctx: usize,
    places: Vec<Option<Place>>,
}

impl Sequences {
    pub(crate) fn new(ctx: usize, max_sequences: usize) -> Sequences {
        Sequences { ctx, places: vec![None; max_sequences] }
    }

    /// Gives every token of a batch its place and position, and new sequences a place, but lengthens none yet.
    ///
    /// Errors: a segment does not begin at its sequence's end, or there is no room.
    pub(crate) fn admit(&mut self, batch: &Batch) -> Result<Vec<Row>, ForwardError> {
        for segment in &batch.segments {
            let len = self.len(segment.seq);
            if segment.start != len {
                return Err(ForwardError::Position { seq: segment.seq, start: segment.start, len });
            }
            let wanted = len + segment.tokens.len();
            if wanted > self.ctx {
                return Err(ForwardError::ContextFull { ctx: self.ctx, wanted });
            }
        }
        let new = batch.segments.iter().filter(|s| self.find(s.seq).is_none()).count();
        if new > self.places.iter().filter(|p| p.is_none()).count() {
            return Err(ForwardError::TooManySequences { max: self.places.len() });
        }
        let mut rows = Vec::with_capacity(batch.n_rows());
        for segment in &batch.segments {
            let slot = self.find_or_take(segment.seq);
            let positions = segment.start..;
            rows.extend(segment.tokens.iter().zip(positions).map(|(&token, position)| Row { token, slot, position }));
        }
        Ok(rows)
    }

    /// Lengthens the sequences by their segments, once the pass has succeeded.
    pub(crate) fn commit(&mut self, batch: &Batch) {
        for segment in &batch.segments {
            let slot = self.find_or_take(segment.seq);
            if let Some(place) = &mut self.places[slot] {
                place.len += segment.tokens.len();
            }
        }
    }

    fn find(&self, seq: SeqId) -> Option<usize> {
        self.places.iter().position(|p| p.is_some_and(|p| p.seq == seq))
    }

    fn find_or_take(&mut self, seq: SeqId) -> usize {
        self.find(seq).unwrap_or_else(|| {
            let free = self.places.iter().position(Option::is_none).expect("admit has counted the free places");
            self.places[free] = Some(Place { seq, len: 0 });
            free
        })
    }
}

impl KvOps for Sequences {
    fn len(&self, seq: SeqId) -> usize {
        self.find(seq).and_then(|i| self.places[i]).map_or(0, |p| p.len)
    }

    fn truncate(&mut self, seq: SeqId, len: usize) {
        if let Some(i) = self.find(seq)
            && let Some(place) = &mut self.places[i]
        {
            place.len = place.len.min(len);
        }
    }

    fn remove(&mut self, seq: SeqId) {
        if let Some(i) = self.find(seq) {
            self.places[i] = None;
        }
    }

    fn context(&self) -> usize {
        self.ctx
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogitRows;

    fn batch(seq: u64, start: usize, n: usize) -> Batch {
        Batch::one(SeqId(seq), start, vec![0; n], LogitRows::Last)
    }

    #[test]
    fn a_refused_batch_changes_nothing() {
        let mut sequences = Sequences::new(4, 1);
        assert!(matches!(sequences.admit(&batch(1, 1, 1)), Err(ForwardError::Position { len: 0, .. })));
        assert!(matches!(sequences.admit(&batch(1, 0, 5)), Err(ForwardError::ContextFull { wanted: 5, .. })));
        sequences.admit(&batch(1, 0, 4)).unwrap();
        sequences.commit(&batch(1, 0, 4));
        assert!(matches!(sequences.admit(&batch(2, 0, 1)), Err(ForwardError::TooManySequences { max: 1 })));
        assert_eq!(sequences.len(SeqId(1)), 4);
    }

    #[test]
    fn truncating_and_removing_make_room() {
        let mut sequences = Sequences::new(4, 1);
        sequences.admit(&batch(1, 0, 4)).unwrap();
        sequences.commit(&batch(1, 0, 4));
        sequences.truncate(SeqId(1), 2);
        assert_eq!(sequences.admit(&batch(1, 2, 1)).unwrap(), [Row { token: 0, slot: 0, position: 2 }]);
        sequences.remove(SeqId(1));
        assert_eq!(sequences.len(SeqId(1)), 0);
        assert!(sequences.admit(&batch(2, 0, 1)).is_ok());
    }
}
