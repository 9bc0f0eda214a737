//! Readiness on Linux: the inner epoll with its timer. The outer event loop watches [`Poller::fd`].
//!
//! Connections are registered once, edge-triggered for both directions, and never modified; listeners and the timer
//! are level-triggered.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub(crate) struct Poller {
    /// None once closed; calls then fail like those on any closed descriptor.
    epoll: Option<OwnedFd>,
    timer: Option<OwnedFd>,
    /// A timer of its own for the beat, exact to the nanosecond; None without one.
    beat: Option<OwnedFd>,
    /// When the timer fires, in the engine's milliseconds; 0 when it is not set.
    armed: u64,
}

pub(crate) struct Events {
    buffer: [libc::epoll_event; Self::CAPACITY],
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
        Self { buffer: [libc::epoll_event { events: 0, u64: 0 }; Self::CAPACITY], filled: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Event {
        let raw = self.buffer[at];
        let flags = raw.events as i32;
        Event {
            token: raw.u64,
            readable: flags & libc::EPOLLIN != 0,
            writable: flags & libc::EPOLLOUT != 0,
            hangup: flags & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0,
        }
    }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call that returned this descriptor has just created it; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn new_timer() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are involved.
    owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) })
}

/// Sets a timer to fire once.
fn set_timer(timer: RawFd, flags: i32, nanoseconds: u64) {
    let value = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
    };
    let spec = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
    // SAFETY: `spec` is valid for the duration of the call; the old value is not asked for.
    unsafe { libc::timerfd_settime(timer, flags, &spec, std::ptr::null_mut()) };
}

/// Makes a beat come now, from any thread.
pub(crate) fn ring(beat: RawFd) {
    set_timer(beat, 0, 1);
}

/// Takes the report of a timer that has fired.
fn read_timer(timer: RawFd) {
    let mut expirations = 0u64;
    // SAFETY: the buffer is eight bytes long, as a timerfd wants it.
    unsafe { libc::read(timer, (&raw mut expirations).cast(), 8) };
}

impl Poller {
    /// The token under which the timer reports.
    pub(crate) const TIMER: u64 = u64::MAX;
    /// The token under which the beat's timer reports.
    pub(crate) const BEAT: u64 = u64::MAX - 1;

    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let poller = Self { epoll: Some(epoll), timer: Some(new_timer()?), beat: None, armed: 0 };
        poller.control(libc::EPOLL_CTL_ADD, poller.timer_fd(), libc::EPOLLIN, Self::TIMER)?;
        Ok(poller)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.epoll.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn timer_fd(&self) -> RawFd {
        self.timer.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Gives the descriptors back, however long the engine's memory is still referred to.
    pub(crate) fn close(&mut self) {
        self.epoll = None;
        self.timer = None;
        self.beat = None;
    }

    pub(crate) fn add_listener(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, token)
    }

    pub(crate) fn add_connection(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let flags = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, fd, flags, token)
    }

    /// Needed only for descriptors that stay open (listeners): closing one removes it.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: i32, fd: RawFd, flags: i32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags as u32, u64: token };
        // SAFETY: `event` is valid for the duration of the call.
        match unsafe { libc::epoll_ctl(self.fd(), operation, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Fetches what is ready, without waiting.
    #[inline]
    pub(crate) fn poll(&self, events: &mut Events) -> io::Result<()> {
        // SAFETY: the buffer is valid for CAPACITY events.
        let count = unsafe { libc::epoll_wait(self.fd(), events.buffer.as_mut_ptr(), Events::CAPACITY as i32, 0) };
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
        let delay = due.saturating_sub(now).max(1);
        set_timer(self.timer_fd(), 0, delay.saturating_mul(1_000_000));
    }

    /// To be called when the timer has reported.
    pub(crate) fn clear_timer(&mut self) {
        self.armed = 0;
        read_timer(self.timer_fd());
    }

    /// From now on there is a beat; [`Self::beat_at`] sets it.
    pub(crate) fn add_beat(&mut self) -> io::Result<()> {
        let beat = new_timer()?;
        self.control(libc::EPOLL_CTL_ADD, beat.as_raw_fd(), libc::EPOLLIN, Self::BEAT)?;
        self.beat = Some(beat);
        Ok(())
    }

    /// Sets the beat's timer, in nanoseconds of the monotonic clock.
    pub(crate) fn beat_at(&self, due: u64) {
        if let Some(beat) = &self.beat {
            set_timer(beat.as_raw_fd(), libc::TFD_TIMER_ABSTIME, due);
        }
    }

    /// For [`ring`]; -1 without a beat.
    pub(crate) fn beat_fd(&self) -> RawFd {
        self.beat.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// To be called when the beat's timer has reported.
    pub(crate) fn clear_beat(&self) {
        if let Some(beat) = &self.beat {
            read_timer(beat.as_raw_fd());
        }
    }
}
