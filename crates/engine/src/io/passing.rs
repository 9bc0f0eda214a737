//! Sending an open descriptor to another process over a Unix socket that keeps message boundaries (`SCM_RIGHTS`).
//!
//! One message carries one descriptor and a few bytes that say what it is. What they mean is `crate::handoff`'s business.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::socket::SEND_FLAGS;

/// The control message of one descriptor: header and descriptor, without the padding behind, in which the kernel would
/// deliver a second one.
// SAFETY: a computation on a number.
const CONTROL: usize = unsafe { libc::CMSG_LEN(mem::size_of::<RawFd>() as u32) as usize };

/// Room for it, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// One received message.
pub(crate) struct Message {
    /// How many bytes it had; more than the buffer has when it was longer.
    pub(crate) length: usize,
    pub(crate) descriptor: Option<OwnedFd>,
    /// Some of its descriptors could not be delivered: there were several, or this process may not open more.
    pub(crate) cut: bool,
}

/// Sends a copy of `passed` with `bytes`, whole or not at all. The caller's descriptor stays open.
pub(crate) fn send(socket: RawFd, bytes: &[u8], passed: BorrowedFd<'_>) -> io::Result<()> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: the control buffer is aligned and has room for one header and one descriptor, which is all that is written.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = CONTROL as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast::<RawFd>(), passed.as_raw_fd());
    }
    loop {
        // SAFETY: message, parts and control buffer outlive the call.
        if unsafe { libc::sendmsg(socket, &message, SEND_FLAGS) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Receives one message without waiting. With `keep` it also stays in the queue, and its descriptor is a copy.
pub(crate) fn receive(socket: RawFd, buffer: &mut [u8], keep: bool) -> io::Result<Message> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let mut flags = libc::MSG_DONTWAIT | if keep { libc::MSG_PEEK } else { 0 };
    #[cfg(target_os = "linux")]
    {
        flags |= libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
    }
    let length = loop {
        // SAFETY: message, parts and control buffer are valid for writing during the call.
        let count = unsafe { libc::recvmsg(socket, &mut message, flags) };
        if count >= 0 {
            break count as usize;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    let mut descriptor = None;
    // SAFETY: the kernel has filled the control buffer and said how far; it holds whole headers only, and one descriptor
    // at most fits. A descriptor in it is new in this process and nobody else's.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        if !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len as usize >= CONTROL
        {
            let raw = ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>());
            #[cfg(not(target_os = "linux"))]
            libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC);
            descriptor = Some(OwnedFd::from_raw_fd(raw));
        }
    }
    let cut = message.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Message { length, descriptor, cut })
}

/// Takes one message out of the queue and drops it. A descriptor in it does not come into this process.
pub(crate) fn discard(socket: RawFd) {
    // SAFETY: no bytes are asked for; what the message carries besides is dropped by the kernel.
    unsafe { libc::recv(socket, ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
}

/// Makes room for `bytes` waiting messages (the kernel allows twice what is set) and has sending raise no signal.
/// What the system refuses leaves the queue shorter, which senders live with.
pub(crate) fn prepare_sender(socket: &OwnedFd, bytes: libc::c_int) {
    let mut present: libc::c_int = 0;
    let mut size = mem::size_of_val(&present) as libc::socklen_t;
    // SAFETY: the options' values are valid for their size.
    unsafe {
        let fd = socket.as_raw_fd();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw mut present).cast(), &mut size);
        if present < 2 * bytes {
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const bytes).cast(), size);
        }
        #[cfg(target_vendor = "apple")]
        {
            let on: libc::c_int = 1;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_NOSIGPIPE, (&raw const on).cast(), size);
        }
    }
}
