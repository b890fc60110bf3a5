//! A file system that misbehaves as real ones do, and what runs many small cases on it. Knows nothing of the
//! modes; the crash tests of the library use the same one.

pub(crate) mod chance;
pub(crate) mod disk;
pub(crate) mod faults;
pub(crate) mod file;
pub(crate) mod hooked;
mod names;
mod storage;

#[cfg(test)]
mod tests;
