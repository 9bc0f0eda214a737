//! The unread connections of a worker that has ended, moved to another worker's inbox. Called by the parent.
//!
//! Each message is copied first and taken out when the copy is on its way: at no point is a connection only in this
//! process's hands, so that it is lost neither when the other inbox is full nor when the parent ends in between.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use pyo3::prelude::*;

use super::message::{Header, SIZE};
use crate::io::passing;

/// Moves the unread connections of `inbox_fd` to `outbox_fd` and returns how many. Nobody else may read `inbox_fd`
/// meanwhile. Stops early when the other inbox is full: what is left can go to another one. Messages that are not
/// from a worker are dropped.
///
/// Raises `OSError` when this process may open no more descriptors; nothing is lost then.
#[pyfunction]
pub(crate) fn forward_inbox(inbox_fd: i32, outbox_fd: i32) -> PyResult<usize> {
    // SAFETY: the caller's descriptors stay open during this call.
    let (inbox, outbox) = unsafe { (BorrowedFd::borrow_raw(inbox_fd), BorrowedFd::borrow_raw(outbox_fd)) };
    Ok(forward(inbox, outbox)?)
}

pub(super) fn forward(inbox: BorrowedFd<'_>, outbox: BorrowedFd<'_>) -> io::Result<usize> {
    let mut moved = 0;
    loop {
        let mut bytes = [0; SIZE];
        let message = match passing::receive(inbox.as_raw_fd(), &mut bytes, true) {
            Ok(message) => message,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(moved),
            Err(error) => return Err(error),
        };
        if message.length == 0 && message.descriptor.is_none() && !message.cut {
            // The end, or an empty message, which nobody sends: both look like this.
            return Ok(moved);
        }
        match (Header::decode(&bytes, message.length), message.descriptor) {
            (Ok(header), Some(fd)) if !message.cut => {
                // Who sent it counted it for the worker that has ended.
                let header = Header { counted: false, ..header };
                match passing::send(outbox.as_raw_fd(), &header.encode(), fd.as_fd()) {
                    Ok(()) => moved += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(moved),
                    Err(error) => return Err(error),
                }
            }
            (Ok(_), None) if message.cut => {
                // There was no room for its descriptor. If there is by now, it is tried again.
                inbox.try_clone_to_owned()?;
                continue;
            }
            _ => {}
        }
        passing::discard(inbox.as_raw_fd());
    }
}
