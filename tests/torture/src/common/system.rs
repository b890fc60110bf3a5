//! What the standard library has no words for: memory that several processes share, limits and mounts of a
//! process. The only file with `unsafe` code.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A file in memory, shared by all who mapped it, as words that are read and written one at a time. What a
/// process stored is there for the others however it ends.
#[derive(Debug)]
pub(crate) struct Mapping {
    first: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the words are atomics, and the mapping lives until it is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `words` words of a file, which must be as long and must not be cut off while it is
    /// mapped.
    pub(crate) fn new(file: &File, words: usize) -> io::Result<Self> {
        let bytes = words * size_of::<AtomicU64>();
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::other("the file is shorter than what is to be mapped"));
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the system chooses the place, so nothing that exists is replaced; the arguments are valid.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { first, words })
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped there, page-aligned, until `self` is dropped, and every process
        // reads and writes them as atomics only.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what `new` mapped, and no reference to it is left.
        let outcome =
            unsafe { libc::munmap(self.first.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
        debug_assert_eq!(outcome, 0);
    }
}

fn checked(outcome: libc::c_int) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From now on, this process is killed when the one that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: it sets a number of this process; the others are not used.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })
}

/// From now on, files of this process cannot grow beyond `bytes`; `None`: as far as the system lets them. A
/// write beyond it fails, and does not end the process.
pub(crate) fn limit_file_size(bytes: Option<u64>) -> io::Result<()> {
    // SAFETY: ignoring a signal runs no code.
    if unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a place for the answer.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) })?;
    limit.rlim_cur = bytes.map_or(limit.rlim_max, |bytes| bytes.min(limit.rlim_max));
    // SAFETY: `limit` is valid for the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) })
}

/// Gives this process file systems of its own: what it mounts, only it and its children see, and it goes
/// away with them. The process must not have begun a thread yet.
pub(crate) fn leave_mounts() -> io::Result<()> {
    // SAFETY: it has no conditions, and cannot fail.
    let user = unsafe { libc::geteuid() };
    // SAFETY: as above.
    let group = unsafe { libc::getegid() };
    // SAFETY: it changes what this process may see, and nothing in its memory.
    checked(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    // Nothing that is mounted from here on is to be seen outside.
    mount(c"none", Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, None)
}

/// Mounts an empty file system with room for `bytes` at `dir`, for a process that has left the mounts of
/// others.
pub(crate) fn mount_small(dir: &Path, bytes: u64) -> io::Result<()> {
    let room = std::ffi::CString::new(format!("size={bytes}")).map_err(io::Error::other)?;
    mount(c"tmpfs", dir, Some(c"tmpfs"), 0, Some(&room))
}

fn mount(
    source: &std::ffi::CStr,
    dir: &Path,
    kind: Option<&std::ffi::CStr>,
    flags: libc::c_ulong,
    options: Option<&std::ffi::CStr>,
) -> io::Result<()> {
    let dir = c_path(dir)?;
    let kind = kind.map_or(std::ptr::null(), std::ffi::CStr::as_ptr);
    let options = options.map_or(std::ptr::null(), |options| options.as_ptr().cast());
    // SAFETY: all of them are strings that outlive the call, or null where that is allowed.
    checked(unsafe { libc::mount(source.as_ptr(), dir.as_ptr(), kind, flags, options) })
}

/// How many bytes can still be written below `dir`.
pub(crate) fn room(dir: &Path) -> io::Result<u64> {
    let dir = c_path(dir)?;
    // SAFETY: a block of numbers may be all zero.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a string that outlives the call, and `found` a place for the answer.
    checked(unsafe { libc::statvfs(dir.as_ptr(), &mut found) })?;
    Ok(found.f_bavail * found.f_frsize)
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_stores_another_one_reads() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(80).expect("it can grow");
        let one = Mapping::new(&file, 10).expect("it is long enough");
        let other = Mapping::new(&file, 10).expect("it is long enough");
        one.words()[9].store(7, Ordering::Release);
        assert_eq!(other.words()[9].load(Ordering::Acquire), 7);
        assert!(Mapping::new(&file, 11).is_err(), "it is too short");
    }
}
