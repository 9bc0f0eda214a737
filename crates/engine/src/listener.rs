//! The listening sockets and which of them are accepted from.
//!
//! A worker has all of the instance's listening sockets open, in the same order as every other worker, and accepts from
//! those it was told to. One that is not accepted from stays open: its template serves connections that another worker
//! accepted there and handed on. Called by the Python class, by `crate::accept` and by the timer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use crate::core::Inner;
use crate::handoff::Handoff;
use crate::py::scope::Templates;
use crate::turn::LISTENERS;

/// How long a listener rests when the process has no descriptors left, in milliseconds.
const REST_MS: u64 = 100;
/// Other workers' listeners that one worker helps with at most. Each new connection there wakes all who help.
const HELP_MAX: usize = 8;

pub(crate) struct Listener {
    /// A duplicate of the descriptor Python owns; None when closed.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) templates: Rc<Templates>,
    /// Bound to all addresses: the server's address is asked for per connection.
    pub(crate) wildcard: bool,
    pub(crate) accepting: Accepting,
    pub(crate) role: Role,
}

/// What the connections of a listener speak, and what they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// They begin with a TLS handshake.
    Tls,
    /// They speak no TLS and are sent to this port, which does.
    Redirect(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    /// Open, and left to others.
    No,
    /// Registered with the poller.
    Yes,
    /// Registered although it is another worker's, who is kept from accepting by its requests.
    Helping,
    /// To be registered again when descriptors may be free.
    Resting,
}

impl Accepting {
    /// The poller tells about it.
    pub(crate) fn is_watched(self) -> bool {
        matches!(self, Self::Yes | Self::Helping)
    }
}

impl Inner {
    /// Adds a listener behind the others.
    pub(crate) fn add_listener(&mut self, mut listener: Listener) -> io::Result<()> {
        let at = self.listeners.len();
        let wanted = std::mem::replace(&mut listener.accepting, Accepting::No) != Accepting::No;
        self.redirects |= matches!(listener.role, Role::Redirect(_));
        self.listeners.push(listener);
        let begun = if wanted { self.begin_accepting(at, Accepting::Yes) } else { Ok(()) };
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
                self.begin_accepting(at, Accepting::Yes)?;
            } else {
                self.pause_accepting(at, Accepting::No)?;
            }
        }
        Ok(())
    }

    /// Accepts from other workers' listeners, too, or from our own only again.
    pub(crate) fn help(&mut self, wanted: bool) {
        let count = self.listeners.len();
        let ours = self.listeners.iter().position(|listener| listener.accepting == Accepting::Yes);
        let first = ours.or_else(|| self.handoff.as_ref().map(Handoff::own)).unwrap_or(0);
        let mut helped = 0;
        for at in (first..first + count).map(|at| at % count) {
            match self.listeners[at].accepting {
                // What fails is tried again with the next beat.
                Accepting::Helping if !wanted => drop(self.pause_accepting(at, Accepting::No)),
                Accepting::No if wanted && helped < HELP_MAX => {
                    drop(self.begin_accepting(at, Accepting::Helping));
                    helped += 1;
                }
                Accepting::Helping => helped += 1,
                _ => {}
            }
        }
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

    /// A listener that got no descriptor for a connection rests a moment.
    pub(crate) fn rest(&mut self, at: usize) {
        let until = match self.listeners.get(at).map(|listener| listener.accepting) {
            Some(Accepting::Yes) => Accepting::Resting,
            _ => Accepting::No,
        };
        // Removing fails only for a descriptor that is not registered: nothing to rest then.
        if self.pause_accepting(at, until).is_ok() && until == Accepting::Resting {
            self.wake_later();
        }
    }

    /// Sees to it that [`Inner::wake_listeners`] is called when descriptors may be free.
    pub(crate) fn wake_later(&mut self) {
        let wake = self.now + REST_MS;
        self.resting = Some(wake);
        self.poller.wake_at(wake, self.now);
    }

    /// Listeners that rested for want of descriptors accept again.
    pub(crate) fn wake_listeners(&mut self) {
        if self.resting.is_none_or(|due| due > self.now) {
            return;
        }
        self.resting = None;
        let mut failed = self.begin_taking().is_err();
        for at in 0..self.listeners.len() {
            if self.listeners[at].accepting == Accepting::Resting {
                failed |= self.begin_accepting(at, Accepting::Yes).is_err();
            }
        }
        if failed {
            self.wake_later();
        }
    }

    fn begin_accepting(&mut self, at: usize, how: Accepting) -> io::Result<()> {
        let listener = &mut self.listeners[at];
        if let Some(fd) = &listener.fd {
            if !listener.accepting.is_watched() {
                self.poller.add_listener(fd.as_raw_fd(), LISTENERS + at as u64)?;
            }
            listener.accepting = how;
        }
        Ok(())
    }

    fn pause_accepting(&mut self, at: usize, until: Accepting) -> io::Result<()> {
        let Some(listener) = self.listeners.get_mut(at) else { return Ok(()) };
        if let (Some(fd), true) = (&listener.fd, listener.accepting.is_watched()) {
            self.poller.remove(fd.as_raw_fd())?;
        }
        listener.accepting = until;
        Ok(())
    }
}
