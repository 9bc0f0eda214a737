//! The operating system's side: readiness, sockets, clocks. No Python and no protocol in here.

pub(crate) mod clock;
pub(crate) mod deadlines;
pub(crate) mod outbuf;
pub(crate) mod passing;
#[cfg_attr(target_os = "macos", path = "kqueue.rs")]
#[cfg_attr(not(target_os = "macos"), path = "epoll.rs")]
pub(crate) mod poller;
pub(crate) mod slots;
pub(crate) mod socket;
pub(crate) mod thread;
