//! A `Storage` around another one that asks a hook before every call, which may let it pass, fail it, or do
//! half of it.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla::storage::{LockOutcome, OpenMode, Storage, StorageFile};

/// How many files were opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    CreateDir,
    List,
    Open,
    Create,
    Rename,
    RemoveFile,
    RemoveDir,
    SyncDir,
    Lock,
    Read,
    Write,
    Len,
    SetLen,
    Sync,
}

pub(crate) enum Action {
    Go,
    Fail(io::Error),
    /// A write writes half, then fails; a read returns half; anything else fails.
    Half(io::Error),
    /// A write takes nothing, without an error; anything else fails.
    Nothing,
}

pub(crate) trait Hook: Send + Sync + Debug + 'static {
    /// Before a call on a path, or on an open file; no two files that were opened have the same number.
    fn before(&self, _op: Op, _path: &Path, _file: Option<u64>) -> Action {
        Action::Go
    }

    /// Before these bytes are written.
    fn before_write(&self, path: &Path, file: u64, _bytes: &[u8]) -> Action {
        self.before(Op::Write, path, Some(file))
    }

    /// After a call that succeeded.
    fn after(&self, _op: Op, _path: &Path) {}
}

#[derive(Debug)]
pub(crate) struct Hooked<S, H> {
    inner: S,
    pub(crate) hook: Arc<H>,
}

impl<S: Clone, H> Clone for Hooked<S, H> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), hook: Arc::clone(&self.hook) }
    }
}

impl<S: Storage, H: Hook> Hooked<S, H> {
    pub(crate) fn new(inner: S, hook: H) -> Self {
        Self { inner, hook: Arc::new(hook) }
    }

    /// The storage without the hook.
    pub(crate) fn plain(&self) -> &S {
        &self.inner
    }
}

fn run<T>(
    hook: &impl Hook,
    op: Op,
    (path, file): (&Path, Option<u64>),
    call: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match hook.before(op, path, file) {
        Action::Go => {
            let done = call()?;
            hook.after(op, path);
            Ok(done)
        }
        Action::Fail(error) | Action::Half(error) => Err(error),
        Action::Nothing => Err(io::ErrorKind::WriteZero.into()),
    }
}

impl<S: Storage, H: Hook> Storage for Hooked<S, H> {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        run(&*self.hook, Op::CreateDir, (dir, None), || self.inner.create_dir_all(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        run(&*self.hook, Op::List, (dir, None), || self.inner.list(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let op = if mode == OpenMode::CreateOrEmpty { Op::Create } else { Op::Open };
        let inner = run(&*self.hook, op, (path, None), || self.inner.open(path, mode))?;
        let (path, number) = (path.to_path_buf(), OPENED.fetch_add(1, Ordering::Relaxed));
        Ok(Box::new(HookedFile { inner, path, number, hook: Arc::clone(&self.hook) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        run(&*self.hook, Op::Rename, (to, None), || self.inner.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        run(&*self.hook, Op::RemoveFile, (path, None), || self.inner.remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        run(&*self.hook, Op::RemoveDir, (dir, None), || self.inner.remove_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        run(&*self.hook, Op::SyncDir, (dir, None), || self.inner.sync_dir(dir))
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        run(&*self.hook, Op::Lock, (path, None), || self.inner.lock(path, owner))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        run(&*self.hook, Op::Lock, (path, None), || self.inner.lock_shared(path))
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        self.inner.boot_id()
    }
}

#[derive(Debug)]
struct HookedFile<H> {
    inner: Box<dyn StorageFile>,
    path: PathBuf,
    number: u64,
    hook: Arc<H>,
}

impl<H: Hook> StorageFile for HookedFile<H> {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        match self.hook.before(Op::Read, &self.path, Some(self.number)) {
            Action::Half(_) => {
                let half = buf.len().div_ceil(2);
                self.inner.read_at(&mut buf[..half], position)
            }
            Action::Go => self.inner.read_at(buf, position),
            Action::Fail(error) => Err(error),
            Action::Nothing => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        match self.hook.before_write(&self.path, self.number, buf) {
            Action::Half(error) => {
                self.inner.write_at(&buf[..buf.len() / 2], position)?;
                Err(error)
            }
            Action::Go => self.inner.write_at(buf, position),
            Action::Fail(error) => Err(error),
            Action::Nothing => Ok(0),
        }
    }

    fn len(&self) -> io::Result<u64> {
        run(&*self.hook, Op::Len, (&self.path, Some(self.number)), || self.inner.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        run(&*self.hook, Op::SetLen, (&self.path, Some(self.number)), || self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        run(&*self.hook, Op::Sync, (&self.path, Some(self.number)), || self.inner.sync_data())
    }
}
