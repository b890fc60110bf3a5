//! Reading from files on a thread of its own, for futures: they must not block the thread that runs them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::offset_index::FrameStart;
use super::segment::{Fetched, OpenFile, Segment};
use crate::error::{Error, Result};
use crate::sync::channel::{Receiver, Sender, unbounded};
use crate::sync::signal::Signal;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Mutex, has_ended};

/// Where a fetch reads files.
#[derive(Clone, Debug, Default)]
pub(crate) enum Files {
    /// On the thread that fetches; it waits.
    #[default]
    Here,
    /// On another; the fetch finds nothing yet, and the signal is notified when it does.
    Elsewhere(Arc<Signal>),
}

/// The thread that reads. It starts with the first request, and ends when the broker is closed, or nobody is
/// left who could ask.
#[derive(Debug, Default)]
pub(crate) struct FileReads {
    thread: Mutex<ReadThread>,
}

#[derive(Debug, Default)]
enum ReadThread {
    #[default]
    NotStarted,
    Runs(Sender<Request>, JoinHandle<()>),
    Stopped,
}

/// A read that was asked for.
#[derive(Debug)]
pub(super) struct Reading {
    outcome: Arc<Mutex<Option<Outcome>>>,
}

/// What was read, and the file if it is open now.
type Outcome = (Option<OpenFile>, Result<Fetched>);

#[derive(Debug)]
struct Request {
    segment: Arc<Segment>,
    file: Option<OpenFile>,
    start: FrameStart,
    end: u64,
    outcome: Arc<Mutex<Option<Outcome>>>,
    signal: Arc<Signal>,
}

impl FileReads {
    pub(crate) const THREAD_NAME: &'static str = "ottla-reader";

    /// Whether the thread was started and has ended, though it was not told to.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&*self.thread.lock(), ReadThread::Runs(_, handle) if has_ended(handle))
    }

    /// Asks for what [`Segment::read`] returns.
    pub(super) fn begin(
        &self,
        segment: &Arc<Segment>,
        file: Option<OpenFile>,
        start: FrameStart,
        end: u64,
        signal: &Arc<Signal>,
    ) -> Result<Reading> {
        let outcome = Arc::default();
        let reading = Reading { outcome: Arc::clone(&outcome) };
        let (segment, signal) = (Arc::clone(segment), Arc::clone(signal));
        let request = Request { segment, file, start, end, outcome, signal };
        let mut thread = self.thread.lock();
        if matches!(*thread, ReadThread::NotStarted) {
            let (sender, requests) = unbounded::<Request>();
            let run = move || answer_all(&requests);
            let started = thread::Builder::new().name(Self::THREAD_NAME.to_owned()).spawn(run);
            let handle = started.map_err(Error::io("start a thread to read", &request.segment.path()))?;
            *thread = ReadThread::Runs(sender, handle);
        }
        match &*thread {
            ReadThread::Runs(sender, _) if sender.send(request).is_ok() => Ok(reading),
            _ => Err(Error::Closed),
        }
    }

    /// Ends the thread, and waits until it has.
    pub(crate) fn stop(&self) {
        let thread = std::mem::replace(&mut *self.thread.lock(), ReadThread::Stopped);
        if let ReadThread::Runs(sender, handle) = thread {
            drop(sender);
            // It survives what panics in a read; there is nothing else to hear from it.
            drop(handle.join());
        }
    }
}

/// Until nobody is left who could ask.
fn answer_all(requests: &Receiver<Request>) {
    while let Ok(request) = requests.recv() {
        request.answer();
    }
}

impl Reading {
    /// What was read; `None` while it is under way.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().take()
    }
}

impl Request {
    fn answer(self) {
        let Self { segment, mut file, start, end, outcome, signal } = self;
        let read = catch_unwind(AssertUnwindSafe(|| segment.read(&mut file, start, end)));
        let panicked = |_| Err(Error::io("read", &segment.path())(std::io::Error::other("it panicked")));
        *outcome.lock() = Some((file, read.unwrap_or_else(panicked)));
        // A waker is others' code. If it panics, the thread has said so, and goes on for other readers.
        drop(catch_unwind(AssertUnwindSafe(|| signal.notify())));
    }
}
