//! Doubly linked lists of slabs, which any slab can leave at once, wherever in its list it is.
//!
//! A slab is in one list at most. All lists share one array of links, made once: moving a slab allocates nothing and
//! costs the same however long the lists are.

use crate::slab::SlabId;

/// `N` lists, numbered from 0.
pub(crate) struct Lists<const N: usize> {
    /// By slab, its neighbours; behind the slabs come the lists' ends. What is in no list is its own neighbour.
    links: Vec<Link>,
    /// By slab, the list that it is in.
    list_of: Vec<Option<u8>>,
    lens: [usize; N],
}

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

impl<const N: usize> Lists<N> {
    /// Empty lists of slabs whose indices are below `n_slabs`.
    pub(crate) fn new(n_slabs: usize) -> Lists<N> {
        let own = |i| u32::try_from(i).expect("fewer slabs than u32::MAX");
        let links = (0..n_slabs + N).map(|i| Link { previous: own(i), next: own(i) }).collect();
        Lists { links, list_of: vec![None; n_slabs], lens: [0; N] }
    }

    /// Number of slabs in a list.
    pub(crate) fn len(&self, list: usize) -> usize {
        self.lens[list]
    }

    /// The slab that joined the list first.
    pub(crate) fn front(&self, list: usize) -> Option<SlabId> {
        self.slab(self.links[self.list_of.len() + list].next)
    }

    /// The slab that joined the list last.
    pub(crate) fn back(&self, list: usize) -> Option<SlabId> {
        self.slab(self.links[self.list_of.len() + list].previous)
    }

    /// Moves a slab to the end of a list, from whatever list it is in.
    pub(crate) fn push_back(&mut self, list: usize, id: SlabId) {
        self.remove(id);
        let (end, at) = (self.list_of.len() + list, id.index());
        let last = self.links[end].previous;
        self.links[at] = Link { previous: last, next: end as u32 };
        self.links[last as usize].next = at as u32;
        self.links[end].previous = at as u32;
        self.list_of[at] = Some(list as u8);
        self.lens[list] += 1;
    }

    /// Takes a slab out of the list that it is in, if any.
    pub(crate) fn remove(&mut self, id: SlabId) {
        let at = id.index();
        let Some(list) = self.list_of[at].take() else { return };
        let Link { previous, next } = self.links[at];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.lens[usize::from(list)] -= 1;
    }

    fn slab(&self, link: u32) -> Option<SlabId> {
        ((link as usize) < self.list_of.len()).then(|| SlabId::at(link as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_leave_from_anywhere_and_stay_in_order() {
        let mut lists = Lists::<2>::new(6);
        let ids: Vec<SlabId> = (0..6).map(SlabId::at).collect();
        ids.iter().for_each(|id| lists.push_back(0, *id));
        lists.remove(ids[2]);
        lists.remove(ids[2]);
        lists.push_back(1, ids[0]);
        lists.push_back(0, ids[3]);
        assert_eq!((lists.len(0), lists.len(1)), (4, 1));
        assert_eq!((lists.front(1), lists.back(1)), (Some(ids[0]), Some(ids[0])));
        let mut left = Vec::new();
        while let Some(id) = lists.front(0) {
            lists.remove(id);
            left.push(id);
        }
        assert_eq!(left, [ids[1], ids[4], ids[5], ids[3]]);
        assert_eq!((lists.len(0), lists.back(0)), (0, None));
    }
}
