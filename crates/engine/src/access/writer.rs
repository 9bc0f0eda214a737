//! The thread that writes log lines to a descriptor, so that neither a slow disk nor a full pipe makes a request wait.
//!
//! The event loop's thread hands over whole lines, once per turn. The writer takes what is there, writes it, and rests
//! for [`REST`]: at most 50 wake-ups a second under load, none when idle. It needs no GIL.
//!
//! When the descriptor takes nothing, lines gather up to [`WAITING_MAX`]; what comes beyond that is dropped, counted,
//! and the count is written into the log as soon as that is possible again. A write that fails drops the lines in
//! hand, counted too. Both are reported to the server's own log.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::line::notice;
use super::Format;
use crate::io::thread::block_signals;

/// Bytes of lines that may wait for the descriptor. About 100,000 lines.
const WAITING_MAX: usize = 16 * 1024 * 1024;
/// Pause between two writes.
const REST: Duration = Duration::from_millis(20);
/// How long the end waits for the last lines to be written.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// A pipe takes this much at once or not at all, so that lines of several processes do not mix (POSIX's PIPE_BUF).
const PIPE_CHUNK: usize = 4096;
/// Pause between two reports of lost lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Buffers that grew beyond this are given back.
const KEEP: usize = 1024 * 1024;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
    /// The process that the thread runs in: a fork has none.
    process: u32,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    spare: Vec<u8>,
    /// Lines dropped that the log does not mention yet.
    unmentioned: u64,
    /// Lines dropped that the server's log does not mention yet, and why.
    unreported: u64,
    failure: Option<String>,
    reported: Option<Instant>,
    /// The writer waits for lines.
    idle: bool,
    closing: bool,
    ended: bool,
    /// Lines in the writer's hands.
    in_hand: u64,
}

impl Shared {
    /// A panic of the other side leaves whole lines behind: the state stays usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(descriptor: OwnedFd, format: Format) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::default()), changed: Condvar::new() });
        let sink = Sink { atomic: is_pipe(&descriptor), file: descriptor.into() };
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("swell access log".into()).spawn(move || {
            block_signals();
            run(&theirs, sink, format);
        })?;
        Ok(Self { shared, thread: Some(thread), process: std::process::id() })
    }

    /// Takes `lines` whole lines. `buffer` comes back empty. Returns what the server's log should say, if anything.
    pub(crate) fn hand_over(&self, buffer: &mut Vec<u8>, lines: u64) -> Option<String> {
        let mut state = self.shared.lock();
        if state.waiting.len() + buffer.len() > WAITING_MAX {
            state.unmentioned += lines;
            state.unreported += lines;
            state.failure.get_or_insert_with(|| "its reader is too slow".into());
            buffer.clear();
        } else if state.waiting.is_empty() {
            std::mem::swap(&mut state.waiting, buffer);
            std::mem::swap(buffer, &mut state.spare);
            buffer.clear();
        } else {
            state.waiting.append(buffer);
        }
        let wake = state.idle;
        state.idle = false;
        let trouble = if state.failure.is_some() { complaint(&mut state, false) } else { None };
        drop(state);
        if wake {
            self.shared.changed.notify_all();
        }
        trouble
    }

    /// Writes what waits and ends the thread, within [`CLOSE_MAX`]. Returns what the server's log should say.
    pub(crate) fn close(&mut self) -> Option<String> {
        let thread = self.thread.take()?;
        if self.process != std::process::id() {
            // A forked child: the thread, and perhaps the lock, exist in the parent only.
            std::mem::forget(thread);
            return None;
        }
        let deadline = Instant::now() + CLOSE_MAX;
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.changed.notify_all();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.ended {
            let trouble = complaint(&mut state, true);
            drop(state);
            // It has nothing left to do; a panic in it was its own.
            let _ = thread.join();
            return trouble;
        }
        state.unreported += count_lines(&state.waiting) + state.in_hand;
        state.failure.get_or_insert_with(|| "its reader did not take the last lines in time".into());
        complaint(&mut state, true)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the server's log should say, at most once per [`REPORT_EVERY`] until the end.
fn complaint(state: &mut State, last: bool) -> Option<String> {
    if !last && state.reported.is_some_and(|before| before.elapsed() < REPORT_EVERY) {
        return None;
    }
    let cause = state.failure.take()?;
    let lines = std::mem::take(&mut state.unreported);
    state.reported = Some(Instant::now());
    Some(format!("access log: {lines} lines were lost: {cause}"))
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

fn run(shared: &Shared, mut sink: Sink, format: Format) {
    let mut hand = Vec::new();
    loop {
        let mut state = shared.lock();
        while state.waiting.is_empty() && state.unmentioned == 0 && !state.closing {
            state.idle = true;
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        if state.waiting.is_empty() && state.unmentioned == 0 {
            state.ended = true;
            shared.changed.notify_all();
            return;
        }
        std::mem::swap(&mut hand, &mut state.waiting);
        let unmentioned = std::mem::take(&mut state.unmentioned);
        if unmentioned > 0 {
            notice(&mut hand, unmentioned, format);
        }
        state.in_hand = count_lines(&hand);
        drop(state);

        let outcome = sink.write(&hand);

        let mut state = shared.lock();
        state.in_hand = 0;
        if let Err((error, rest)) = outcome {
            let lost = count_lines(&hand[rest..]);
            state.unreported += lost;
            state.failure.get_or_insert_with(|| error.to_string());
        }
        hand.clear();
        if hand.capacity() <= KEEP && state.spare.capacity() == 0 {
            state.spare = std::mem::take(&mut hand);
        } else {
            hand.shrink_to(KEEP);
        }
        if !state.closing {
            let rested = shared.changed.wait_timeout_while(state, REST, |state| !state.closing);
            drop(rested.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

struct Sink {
    file: File,
    atomic: bool,
}

impl Sink {
    /// Writes everything.
    ///
    /// # Errors
    /// The error, and where the lines begin that were not written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut at = 0;
        while at < bytes.len() {
            let end = if self.atomic { at + chunk(&bytes[at..]) } else { bytes.len() };
            match self.file.write(&bytes[at..end]) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), at)),
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody who shares the descriptor made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_writable(&self.file),
                Err(error) => return Err((error, at)),
            }
        }
        Ok(())
    }
}

/// As many whole lines as fit into one write to a pipe; at least one.
fn chunk(bytes: &[u8]) -> usize {
    if bytes.len() <= PIPE_CHUNK {
        return bytes.len();
    }
    let fitting = memchr::memrchr(b'\n', &bytes[..PIPE_CHUNK]);
    let end = fitting.or_else(|| memchr::memchr(b'\n', bytes));
    end.map_or(bytes.len(), |end| end + 1)
}

fn is_pipe(descriptor: &OwnedFd) -> bool {
    let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the descriptor is open and the pointer valid; a zeroed stat is a valid one.
    let status = unsafe {
        libc::fstat(descriptor.as_raw_fd(), status.as_mut_ptr());
        status.assume_init()
    };
    status.st_mode & libc::S_IFMT == libc::S_IFIFO
}

fn wait_writable(file: &File) {
    let mut entry = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid entry. Whatever the outcome, the write is tried again.
    unsafe { libc::poll(&mut entry, 1, 1000) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_end_with_a_line() {
        let lines = b"0123456789\n".repeat(1000);
        let first = chunk(&lines);
        assert!(first <= PIPE_CHUNK && first > PIPE_CHUNK - 11);
        assert_eq!(lines[first - 1], b'\n');
        let long = [vec![b'x'; 2 * PIPE_CHUNK], b"\nrest\n".to_vec()].concat();
        assert_eq!(chunk(&long), 2 * PIPE_CHUNK + 1);
    }
}
