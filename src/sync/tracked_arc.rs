//! An `Arc` whose counting ThreadSanitizer understands. The standard library's passes a fence before the last
//! holder frees or takes back what it held; the sanitizer knows no fences, and would call every use of memory
//! that was shared before a race. Here the same order is written down with an atomic: those who let go
//! release it, the last one acquires it.

use std::ops::Deref;

use super::{Arc, AtomicUsize, Ordering};

/// As far as the crate uses `Arc` for memory that is used again.
#[derive(Debug)]
pub(crate) struct TrackedArc<T> {
    /// `None` only while it is dropped or taken apart. A box, so that whoever takes it out of the `Arc`
    /// touches nothing but its address before it has acquired the rest.
    inner: Option<Arc<Box<Tracked<T>>>>,
}

#[derive(Debug)]
struct Tracked<T> {
    /// How many have let go.
    let_go: AtomicUsize,
    value: T,
}

impl<T> Tracked<T> {
    /// For the last holder: what the others did comes before what it does.
    fn into_value(self: Box<Self>) -> T {
        self.let_go.load(Ordering::Acquire);
        self.value
    }
}

impl<T> TrackedArc<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { inner: Some(Arc::new(Box::new(Tracked { let_go: AtomicUsize::new(0), value }))) }
    }

    pub(crate) fn ptr_eq(one: &Self, other: &Self) -> bool {
        std::ptr::eq(&raw const **one, &raw const **other)
    }

    pub(crate) fn try_unwrap(mut this: Self) -> Result<T, Self> {
        let Some(inner) = this.inner.take() else { return Err(this) };
        Arc::try_unwrap(inner).map(Tracked::into_value).map_err(|inner| Self { inner: Some(inner) })
    }
}

impl<T> Clone for TrackedArc<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> Deref for TrackedArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.inner {
            Some(inner) => &inner.value,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl<T> Drop for TrackedArc<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            inner.let_go.fetch_add(1, Ordering::Release);
            drop(Arc::into_inner(inner).map(Tracked::into_value));
        }
    }
}
