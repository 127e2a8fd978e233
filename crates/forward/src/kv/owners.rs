//! Which pages are free, and how many sequences have each of the others.

use super::page::PageId;

/// The pages of a cache and their owners.
#[derive(Debug)]
pub(crate) struct PageOwners {
    /// How many sequences have a page.
    n_owners: Vec<u32>,
    /// Pages that none has. Those freed last are taken first: their memory has been used.
    free: Vec<PageId>,
}

impl PageOwners {
    pub(crate) fn new(n: usize) -> PageOwners {
        let n = u32::try_from(n).expect("a cache of 2^32 pages is larger than any memory");
        PageOwners { n_owners: vec![0; n as usize], free: (0..n).rev().map(PageId).collect() }
    }

    pub(crate) fn n(&self) -> usize {
        self.n_owners.len()
    }

    pub(crate) fn n_free(&self) -> usize {
        self.free.len()
    }

    /// A free page, which then has one owner.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        let page = self.free.pop()?;
        self.n_owners[page.0 as usize] = 1;
        Some(page)
    }

    /// Gives a page one more owner.
    pub(crate) fn share(&mut self, page: PageId) {
        if page == PageId::GONE {
            return;
        }
        assert!(self.n_owners[page.0 as usize] > 0, "{page:?} is free");
        self.n_owners[page.0 as usize] += 1;
    }

    /// Takes an owner from a page.
    pub(crate) fn release(&mut self, page: PageId) {
        if page == PageId::GONE {
            return;
        }
        let n_owners = &mut self.n_owners[page.0 as usize];
        assert!(*n_owners > 0, "{page:?} is free");
        *n_owners -= 1;
        if *n_owners == 0 {
            self.free.push(page);
        }
    }

    pub(crate) fn is_shared(&self, page: PageId) -> bool {
        self.n_owners[page.0 as usize] > 1
    }
}
