//! A list that grows while others read it: elements are added at the end, and never move or leave. Reading
//! takes no lock, so that a send may look up its partition in a list that an administrator is extending.

use super::{AtomicUsize, Mutex, OnceLock, Ordering};

/// Elements of the first block of those that are added; each further block has twice as many as the one
/// before.
const FIRST_BLOCK: usize = 8;
/// Enough for `u32::MAX` elements.
const BLOCKS: usize = 30;

/// A list to which elements can be added through a shared reference.
#[derive(Debug)]
pub(crate) struct GrowList<T> {
    /// Those it was made with, which cost no more to look up than in a slice.
    first: Box<[T]>,
    /// Those that were added.
    blocks: [OnceLock<Block<T>>; BLOCKS],
    /// How many elements there are. Stored with Release after the element, loaded with Acquire.
    len: AtomicUsize,
    /// Held while an element is added.
    growing: Mutex<()>,
}

type Block<T> = Box<[OnceLock<T>]>;

impl<T> GrowList<T> {
    /// How many elements there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The element at `index`, from 0.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.first.get(index).or_else(|| self.get_added(index))
    }

    fn get_added(&self, index: usize) -> Option<&T> {
        let (block, place) = place_of(index.checked_sub(self.first.len())?);
        self.blocks.get(block)?.get()?.get(place)?.get()
    }

    /// The elements that are there now, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Adds an element; every thread that learns of it afterwards finds it.
    pub(crate) fn push(&self, element: T) {
        let _one_at_a_time = self.growing.lock();
        let len = self.len();
        let (block, place) = place_of(len - self.first.len());
        let elements = self.blocks[block]
            .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(FIRST_BLOCK << block).collect());
        elements[place].get_or_init(|| element);
        self.len.store(len + 1, Ordering::Release);
    }
}

/// The block of the element that was added as number `added`, and its place in it.
fn place_of(added: usize) -> (usize, usize) {
    // Counted from the length of the first block on, block `n` begins at `FIRST_BLOCK << n`.
    let number = added.saturating_add(FIRST_BLOCK);
    let block = (number.ilog2() - FIRST_BLOCK.ilog2()) as usize;
    (block, number - (FIRST_BLOCK << block))
}

impl<T> FromIterator<T> for GrowList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let first: Box<[T]> = elements.into_iter().collect();
        Self {
            len: AtomicUsize::new(first.len()),
            first,
            blocks: std::array::from_fn(|_| OnceLock::new()),
            growing: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_in_order_across_all_block_borders() {
        for first in [0, 1, 7, 900, 1_000] {
            let list: GrowList<usize> = (0..first).collect();
            assert_eq!((list.len(), list.get(first)), (first, None));
            (first..1_000).for_each(|number| list.push(number));
            assert_eq!(list.iter().copied().collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
            assert_eq!((list.len(), list.get(1_000), list.get(usize::MAX)), (1_000, None, None));
        }
    }

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let places =
            [(0, (0, 0)), (7, (0, 7)), (8, (1, 0)), (23, (1, 15)), (24, (2, 0)), (9_999, (10, 1_815))];
        for (index, place) in places {
            assert_eq!(place_of(index), place, "index {index}");
        }
        assert!(place_of(u32::MAX as usize).0 < BLOCKS);
    }

    #[test]
    fn an_element_stays_where_it_is_while_the_list_grows() {
        let list: GrowList<String> = std::iter::once("first".to_owned()).collect();
        let first = list.get(0).expect("it is there");
        (0..100).for_each(|number| list.push(number.to_string()));
        assert!(std::ptr::eq(first, list.get(0).expect("it is there")));
    }

    #[test]
    fn readers_and_writers_at_the_same_time_see_whole_elements_only() {
        const EACH: usize = 5_000;
        let list = GrowList::from_iter([vec![0; 3]]);
        std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen <= 2 * EACH {
                        let len = list.len();
                        assert!(len >= seen, "it never shrinks");
                        assert!(list.iter().take(len).all(|element: &Vec<usize>| element.len() == 3));
                        assert_eq!(list.iter().take(len).count(), len);
                        seen = len;
                    }
                })
            });
            let writers = [(); 2].map(|()| scope.spawn(|| (0..EACH).for_each(|n| list.push(vec![n; 3]))));
            writers.into_iter().for_each(|writer| writer.join().expect("it does not panic"));
            readers.into_iter().for_each(|reader| reader.join().expect("it does not panic"));
        });
        assert_eq!(list.len(), 2 * EACH + 1);
    }
}
