//! A row of things, mostly of one, of which the last is used most: that one lies in the row itself. With a
//! thousand partitions, each piece of memory that lies apart costs a send a miss.

use std::iter::Chain;
use std::{option, slice};

/// Things in the order in which they came.
#[derive(Debug)]
pub(super) struct Row<T> {
    last: Option<T>,
    before: Vec<T>,
}

impl<T> Row<T> {
    pub(super) const EMPTY: Self = Self { last: None, before: Vec::new() };

    pub(super) fn len(&self) -> usize {
        self.before.len() + usize::from(self.last.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn iter(&self) -> Chain<slice::Iter<'_, T>, option::Iter<'_, T>> {
        self.before.iter().chain(&self.last)
    }

    pub(super) fn iter_mut(&mut self) -> Chain<slice::IterMut<'_, T>, option::IterMut<'_, T>> {
        self.before.iter_mut().chain(&mut self.last)
    }

    #[inline]
    pub(super) fn last(&self) -> Option<&T> {
        self.last.as_ref()
    }

    #[inline]
    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.last.as_mut()
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        match number == self.before.len() {
            true => self.last.as_mut(),
            false => self.before.get_mut(number),
        }
    }

    pub(super) fn push(&mut self, new: T) {
        self.before.extend(self.last.replace(new));
    }

    pub(super) fn pop_first(&mut self) -> Option<T> {
        if self.before.is_empty() { self.last.take() } else { Some(self.before.remove(0)) }
    }

    /// Leaves the first `count`; returns the others, in order.
    pub(super) fn split_off(&mut self, count: usize) -> Vec<T> {
        if count >= self.len() {
            return Vec::new();
        }
        let mut others = self.before.split_off(count);
        others.extend(self.last.take());
        self.last = self.before.pop();
        others
    }

    /// Takes everything, and keeps no memory.
    pub(super) fn take(&mut self) -> Vec<T> {
        let mut all = std::mem::take(&mut self.before);
        all.extend(self.last.take());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(len: u32) -> Row<u32> {
        let mut row = Row::EMPTY;
        (0..len).for_each(|number| row.push(number));
        row
    }

    #[test]
    fn it_is_a_list() {
        for len in 0..5 {
            let mut row = row(len);
            let expected: Vec<u32> = (0..len).collect();
            assert_eq!((row.len(), row.is_empty()), (len as usize, len == 0));
            assert!(row.iter().eq(&expected) && row.iter_mut().map(|number| *number).eq(expected.clone()));
            assert_eq!(
                (row.last().copied(), row.last_mut().copied()),
                (expected.last().copied(), expected.last().copied())
            );
            for number in 0..=len {
                assert_eq!(row.get_mut(number as usize).copied(), expected.get(number as usize).copied());
            }
            assert!((0..len).all(|number| row.pop_first() == Some(number)));
            assert_eq!((row.pop_first(), row.len()), (None, 0));
        }
    }

    #[test]
    fn it_is_cut_anywhere() {
        for len in 0..5 {
            for count in 0..6 {
                let mut row = row(len);
                let others = row.split_off(count as usize);
                let kept = count.min(len);
                assert!(row.iter().copied().eq(0..kept) && others.into_iter().eq(kept..len));
                row.push(7);
                assert_eq!(row.last(), Some(&7));
                assert!(row.take().into_iter().eq((0..kept).chain([7])) && row.is_empty());
            }
        }
    }
}
