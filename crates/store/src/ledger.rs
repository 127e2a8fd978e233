//! The ledger: who holds how much of the budget.
//!
//! Everything that takes more than a mebibyte holds a [`Reservation`] for as long as it lives, so the sum can be checked
//! where it grows and shown when it is asked for. What is smaller is part of the reservation of the program itself.
//!
//! Deliberately absent: memory. [`crate::Buffer`] and the slots of weights bring their own and hold a reservation for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::StoreError;

/// A budget in bytes and what is reserved of it. Clones share one budget.
#[derive(Clone, Debug)]
pub struct Ledger {
    limit_bytes: u64,
    entries: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

/// A part of the budget that somebody holds; dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    ledger: Ledger,
    what: &'static str,
    bytes: u64,
}

impl Ledger {
    /// A budget of which nothing is taken.
    pub fn new(limit_bytes: u64) -> Ledger {
        Ledger { limit_bytes, entries: Arc::default() }
    }

    /// Takes `bytes` for `what`, a word for messages and statistics.
    ///
    /// Errors: less is left.
    pub fn reserve(&self, what: &'static str, bytes: u64) -> Result<Reservation, StoreError> {
        let mut reservation = Reservation { ledger: self.clone(), what, bytes: 0 };
        reservation.resize(bytes)?;
        Ok(reservation)
    }

    /// The budget, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// What is reserved, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Makes the reservation larger or smaller.
    ///
    /// Errors: less than the difference is left; the reservation is then as it was.
    pub fn resize(&mut self, bytes: u64) -> Result<(), StoreError> {
        let mut entries = self.ledger.lock();
        let others = entries.values().sum::<u64>() - self.bytes;
        if bytes > self.bytes && others.saturating_add(bytes) > self.ledger.limit_bytes {
            let held = entries.iter().map(|(what, held)| format!("{what} {held}")).collect::<Vec<_>>().join(", ");
            let left = self.ledger.limit_bytes.saturating_sub(others);
            return Err(StoreError::OverBudget { what: self.what, bytes, left, held });
        }
        let entry = entries.entry(self.what).or_default();
        *entry = *entry - self.bytes + bytes;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut entries = self.ledger.lock();
        if let Some(entry) = entries.get_mut(self.what) {
            *entry -= self.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_never_exceed_the_limit_and_come_back() {
        let ledger = Ledger::new(100);
        let mut a = ledger.reserve("a", 60).unwrap();
        let b = ledger.reserve("b", 40).unwrap();
        let error = ledger.reserve("c", 1).unwrap_err();
        assert!(error.to_string().contains("a 60, b 40"), "{error}");
        assert!(a.resize(61).is_err());
        assert_eq!(ledger.used_bytes(), 100);
        drop(b);
        a.resize(100).unwrap();
        a.resize(10).unwrap();
        assert_eq!(ledger.used_bytes(), 10);
        let again = ledger.reserve("a", 90).unwrap();
        drop(a);
        assert_eq!(ledger.used_bytes(), 90);
        drop(again);
        assert_eq!(ledger.used_bytes(), 0);
    }
}
