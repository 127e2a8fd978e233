//! The ledger: who holds how much of the budget.
//!
//! Everything that takes more than a mebibyte holds a [`Reservation`] for as long as it lives, so that the sum is checked
//! where it grows. What is smaller is part of the program's reservation. Several models can share one [`Ledger`]: what
//! they reserve under the same word adds up.
//!
//! Deliberately absent: memory. [`crate::Buffer`] and the slots of weights bring it and hold a reservation for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::StoreError;
use crate::size;

/// A budget in bytes and the reservations in it. Clones share one budget.
#[derive(Clone, Debug)]
pub struct Ledger {
    limit_bytes: u64,
    entries: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

/// A part of the budget, returned when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    ledger: Ledger,
    what: &'static str,
    bytes: u64,
}

impl Ledger {
    /// A budget without reservations.
    pub fn new(limit_bytes: u64) -> Ledger {
        Ledger { limit_bytes, entries: Arc::default() }
    }

    /// Reserves `bytes` for `what`, a word for error messages.
    ///
    /// Errors: less than that is left.
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

    /// What can still be reserved, in bytes.
    pub fn left_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Grows or shrinks the reservation.
    ///
    /// Errors: less than the difference is left; the reservation is then unchanged.
    pub fn resize(&mut self, bytes: u64) -> Result<(), StoreError> {
        let mut entries = self.ledger.lock();
        let others = entries.values().sum::<u64>() - self.bytes;
        if bytes > self.bytes && others.saturating_add(bytes) > self.ledger.limit_bytes {
            let holders = entries.iter().filter(|(_, held)| **held > 0);
            let held: Vec<String> = holders.map(|(what, held)| format!("{what} {}", size::show(*held))).collect();
            let left = self.ledger.limit_bytes.saturating_sub(others);
            return Err(StoreError::OverBudget { what: self.what, bytes, left, held: held.join(", ") });
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
        const MIB: u64 = 1 << 20;
        let ledger = Ledger::new(100 * MIB);
        let mut a = ledger.reserve("a", 60 * MIB).unwrap();
        let b = ledger.reserve("b", 40 * MIB).unwrap();
        let error = ledger.reserve("c", 1).unwrap_err();
        assert!(error.to_string().contains("a 60.0 MiB, b 40.0 MiB"), "{error}");
        assert!(a.resize(61 * MIB).is_err());
        assert_eq!((ledger.used_bytes(), ledger.left_bytes()), (100 * MIB, 0));
        drop(b);
        a.resize(100 * MIB).unwrap();
        a.resize(10 * MIB).unwrap();
        assert_eq!((ledger.used_bytes(), ledger.left_bytes()), (10 * MIB, 90 * MIB));
        let again = ledger.reserve("a", 90 * MIB).unwrap();
        let error = ledger.reserve("b", MIB).unwrap_err();
        assert!(error.to_string().contains("(held: a 100.0 MiB)"), "{error}");
        drop(a);
        assert_eq!(ledger.used_bytes(), 90 * MIB);
        drop(again);
        assert_eq!(ledger.used_bytes(), 0);
    }
}
