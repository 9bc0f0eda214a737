//! Readiness on macOS: the inner kqueue with its timer. Same contract as the Linux file beside it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::clock;

pub(crate) struct Poller {
    /// None once closed; calls then fail like those on any closed descriptor.
    queue: Option<OwnedFd>,
    armed: u64,
}

pub(crate) struct Events {
    buffer: [libc::kevent; Self::CAPACITY],
    filled: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has shut down its side, or the connection failed.
    pub(crate) hangup: bool,
}

impl Events {
    pub(crate) const CAPACITY: usize = 64;

    pub(crate) fn new() -> Self {
        Self { buffer: [change(0, 0, 0, 0, 0); Self::CAPACITY], filled: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Event {
        let raw = &self.buffer[at];
        Event {
            token: raw.udata as u64,
            readable: raw.filter == libc::EVFILT_READ || raw.filter == libc::EVFILT_TIMER,
            writable: raw.filter == libc::EVFILT_WRITE,
            hangup: raw.flags & libc::EV_EOF != 0,
        }
    }
}

fn change(ident: usize, filter: i16, flags: u16, data: isize, token: u64) -> libc::kevent {
    libc::kevent { ident, filter, flags, fflags: 0, data, udata: token as usize as *mut _ }
}

impl Poller {
    /// The token under which the timer reports.
    pub(crate) const TIMER: u64 = u64::MAX;
    /// The token under which the beat's timer reports.
    pub(crate) const BEAT: u64 = u64::MAX - 1;

    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved.
        let queue = unsafe { libc::kqueue() };
        if queue < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: kqueue() has just created this descriptor; nobody else owns it.
        Ok(Self { queue: Some(unsafe { OwnedFd::from_raw_fd(queue) }), armed: 0 })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.queue.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Gives the descriptor back, however long the engine's memory is still referred to.
    pub(crate) fn close(&mut self) {
        self.queue = None;
    }

    pub(crate) fn add_listener(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.submit(&[change(fd as usize, libc::EVFILT_READ, libc::EV_ADD, 0, token)])
    }

    pub(crate) fn add_connection(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let flags = libc::EV_ADD | libc::EV_CLEAR;
        self.submit(&[
            change(fd as usize, libc::EVFILT_READ, flags, 0, token),
            change(fd as usize, libc::EVFILT_WRITE, flags, 0, token),
        ])
    }

    /// Needed only for descriptors that stay open (listeners): closing one removes it.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.submit(&[change(fd as usize, libc::EVFILT_READ, libc::EV_DELETE, 0, 0)])
    }

    fn submit(&self, changes: &[libc::kevent]) -> io::Result<()> {
        // SAFETY: the change list is valid for its length; no events are asked for.
        let result =
            unsafe { libc::kevent(self.fd(), changes.as_ptr(), changes.len() as i32, ptr::null_mut(), 0, ptr::null()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Fetches what is ready, without waiting.
    pub(crate) fn poll(&self, events: &mut Events) -> io::Result<()> {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the buffer is valid for CAPACITY events.
        let count = unsafe {
            libc::kevent(self.fd(), ptr::null(), 0, events.buffer.as_mut_ptr(), Events::CAPACITY as i32, &now)
        };
        events.filled = 0;
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        events.filled = count as usize;
        Ok(())
    }

    /// Makes the timer fire no later than `due`; one that is already earlier stays.
    pub(crate) fn wake_at(&mut self, due: u64, now: u64) {
        if self.armed != 0 && self.armed <= due {
            return;
        }
        self.armed = due;
        let delay = due.saturating_sub(now).max(1) as isize;
        let flags = libc::EV_ADD | libc::EV_ONESHOT;
        // A timer that cannot be set leaves the earlier one; the next turn tries again.
        if self.submit(&[change(1, libc::EVFILT_TIMER, flags, delay, Self::TIMER)]).is_err() {
            self.armed = 0;
        }
    }

    /// To be called when the timer has reported.
    pub(crate) fn clear_timer(&mut self) {
        self.armed = 0;
    }

    /// From now on there is a beat; [`Self::beat_at`] sets it.
    pub(crate) fn add_beat(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Sets the beat's timer, in nanoseconds of the monotonic clock, to the millisecond.
    pub(crate) fn beat_at(&self, due: u64) {
        let delay = (due.saturating_sub(clock::precise_ns()) / 1_000_000).max(1) as isize;
        let flags = libc::EV_ADD | libc::EV_ONESHOT;
        // Without a beat, turns alone stamp the heartbeat.
        let _ = self.submit(&[change(2, libc::EVFILT_TIMER, flags, delay, Self::BEAT)]);
    }

    /// For [`ring`]: there is nothing that another thread could ring.
    pub(crate) fn beat_fd(&self) -> RawFd {
        -1
    }

    /// To be called when the beat's timer has reported.
    pub(crate) fn clear_beat(&self) {}
}

/// Makes a beat come now, from any thread: not here.
pub(crate) fn ring(_beat: RawFd) {}
