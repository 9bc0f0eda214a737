//! The listening sockets and which of them are accepted from.
//!
//! A worker has all of the instance's listening sockets open, in the same order as every other worker, and accepts from
//! those it was told to. One that is not accepted from stays open: its template serves connections that another worker
//! accepted there and handed on. Called by the Python class, by `crate::accept` and by the timer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use crate::core::Inner;
use crate::py::scope::Templates;
use crate::turn::LISTENERS;

/// How long a listener rests when the process has no descriptors left, in milliseconds.
pub(crate) const REST_MS: u64 = 100;

pub(crate) struct Listener {
    /// A duplicate of the descriptor Python owns; None when closed.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) templates: Rc<Templates>,
    /// Bound to all addresses: the server's address is asked for per connection.
    pub(crate) wildcard: bool,
    pub(crate) accepting: Accepting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    /// Open, and left to others.
    No,
    /// Registered with the poller.
    Yes,
    /// To be registered again when descriptors may be free.
    Resting,
}

impl Inner {
    /// Adds a listener behind the others.
    pub(crate) fn add_listener(&mut self, mut listener: Listener) -> io::Result<()> {
        let at = self.listeners.len();
        let wanted = std::mem::replace(&mut listener.accepting, Accepting::No) != Accepting::No;
        self.listeners.push(listener);
        let begun = if wanted { self.begin_accepting(at) } else { Ok(()) };
        if begun.is_err() {
            self.listeners.truncate(at);
            return begun;
        }
        // Who knows no listener cannot serve what others have accepted.
        self.begin_taking()
    }

    /// Accepts from the listeners at `wanted` and from no others. Those that are closed stay closed.
    pub(crate) fn accept_from(&mut self, wanted: &[usize]) -> io::Result<()> {
        for at in 0..self.listeners.len() {
            if wanted.contains(&at) {
                self.begin_accepting(at)?;
            } else {
                self.pause_accepting(at, Accepting::No)?;
            }
        }
        Ok(())
    }

    /// Closes all listeners. The sockets themselves stay open at their owner's.
    pub(crate) fn stop_accepting(&mut self) -> io::Result<()> {
        for at in 0..self.listeners.len() {
            let paused = self.pause_accepting(at, Accepting::No);
            self.listeners[at].fd = None;
            paused?;
        }
        Ok(())
    }

    /// A listener that got no descriptor for a connection rests a moment. False when it was not accepting.
    pub(crate) fn rest(&mut self, at: usize) -> bool {
        // Removing fails only for a descriptor that is not registered: nothing to rest then.
        if !matches!(self.pause_accepting(at, Accepting::Resting), Ok(true)) {
            return false;
        }
        let wake = self.now + REST_MS;
        self.resting = Some(wake);
        self.poller.wake_at(wake, self.now);
        true
    }

    /// Listeners that rested for want of descriptors accept again.
    pub(crate) fn wake_listeners(&mut self) {
        if self.resting.is_none_or(|due| due > self.now) {
            return;
        }
        self.resting = None;
        for at in 0..self.listeners.len() {
            if self.listeners[at].accepting == Accepting::Resting && self.begin_accepting(at).is_err() {
                self.resting = Some(self.now + REST_MS);
            }
        }
        if self.begin_taking().is_err() {
            self.resting = Some(self.now + REST_MS);
        }
    }

    fn begin_accepting(&mut self, at: usize) -> io::Result<()> {
        let listener = &mut self.listeners[at];
        if let (Some(fd), true) = (&listener.fd, listener.accepting != Accepting::Yes) {
            self.poller.add_listener(fd.as_raw_fd(), LISTENERS + at as u64)?;
            listener.accepting = Accepting::Yes;
        }
        Ok(())
    }

    /// True when it was accepting.
    fn pause_accepting(&mut self, at: usize, until: Accepting) -> io::Result<bool> {
        let Some(listener) = self.listeners.get_mut(at) else { return Ok(false) };
        let before = listener.accepting;
        if let (Some(fd), Accepting::Yes) = (&listener.fd, before) {
            self.poller.remove(fd.as_raw_fd())?;
            listener.accepting = until;
            return Ok(true);
        }
        if until == Accepting::No {
            listener.accepting = Accepting::No;
        }
        Ok(false)
    }
}
