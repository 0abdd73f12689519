//! A table whose places are used again, so that it is as long as what it held at once.

/// Things with small numbers that are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(entry);
            return id;
        }
        let id = u32::try_from(self.entries.len()).expect("what is open at once fits in 32 bits");
        self.entries.push(Some(entry));
        id
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        self.entries[id as usize].take().expect("an entry is removed once")
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, id: u32) -> &T {
        self.entries[id as usize].as_ref().expect("only entries that are there are named")
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, id: u32) -> &mut T {
        self.entries[id as usize].as_mut().expect("only entries that are there are named")
    }
}
