//! Non-blocking socket calls that return errors as values, and addresses as text.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The other end of a connection, or this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Inet(SocketAddr),
    /// A Unix socket's path; empty when it has none.
    Unix(String),
}

impl Address {
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => write!(formatter, "{address}"),
            Self::Unix(path) if path.is_empty() => formatter.write_str("unix"),
            Self::Unix(path) => write!(formatter, "unix:{path}"),
        }
    }
}

/// Accepts one connection: close-on-exec and non-blocking.
pub(crate) fn accept(listener: RawFd) -> io::Result<(OwnedFd, Address)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: storage and length describe a writable buffer of that size.
    #[cfg(target_os = "linux")]
    let fd = unsafe {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        libc::accept4(listener, storage.as_mut_ptr().cast(), &mut length, flags)
    };
    // SAFETY: as above.
    #[cfg(not(target_os = "linux"))]
    let fd = unsafe { libc::accept(listener, storage.as_mut_ptr().cast(), &mut length) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: accept has just created this descriptor; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    #[cfg(not(target_os = "linux"))]
    // SAFETY: plain flag settings on an open descriptor.
    unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
        let on: libc::c_int = 1;
        let size = mem::size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NOSIGPIPE, (&raw const on).cast(), size);
    }
    // SAFETY: zeroed at first, then filled by accept; every bit pattern is a valid sockaddr_storage.
    let address = decode(unsafe { storage.assume_init_ref() }, length);
    Ok((fd, address))
}

/// Whether the process at the other end of a Unix socket is this user's or root's, as the kernel knows it. False for
/// other sockets.
pub(crate) fn peer_is_owner(fd: RawFd) -> bool {
    // SAFETY: no preconditions, cannot fail.
    let owner = unsafe { libc::geteuid() };
    peer_user(fd).is_some_and(|user| user == 0 || user == owner)
}

#[cfg(target_os = "linux")]
fn peer_user(fd: RawFd) -> Option<libc::uid_t> {
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    let mut size = mem::size_of_val(&peer) as libc::socklen_t;
    // SAFETY: peer and size describe a writable buffer of that size.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &mut size) };
    (result == 0).then_some(peer.uid)
}

#[cfg(not(target_os = "linux"))]
fn peer_user(fd: RawFd) -> Option<libc::uid_t> {
    let (mut user, mut group) = (libc::uid_t::MAX, libc::gid_t::MAX);
    // SAFETY: both pointers are to writable integers of the right type.
    let result = unsafe { libc::getpeereid(fd, &mut user, &mut group) };
    (result == 0).then_some(user)
}

/// The address this end of the connection has.
pub(crate) fn local_address(fd: RawFd) -> Option<Address> {
    address(fd, libc::getsockname)
}

/// The address of the other end; None when the connection is gone.
pub(crate) fn peer_address(fd: RawFd) -> Option<Address> {
    address(fd, libc::getpeername)
}

type AddressCall = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address(fd: RawFd, call: AddressCall) -> Option<Address> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: storage and length describe a writable buffer of that size.
    let result = unsafe { call(fd, storage.as_mut_ptr().cast(), &mut length) };
    // SAFETY: zeroed at first, then filled by the call; every bit pattern is valid.
    (result == 0).then(|| decode(unsafe { storage.assume_init_ref() }, length))
}

fn decode(storage: &libc::sockaddr_storage, length: libc::socklen_t) -> Address {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which is smaller than the storage.
            let inet = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr));
            Address::Inet(SocketAddr::new(ip.into(), u16::from_be(inet.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6, which is smaller than the storage.
            let inet = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(inet.sin6_addr.s6_addr);
            Address::Inet(SocketAddr::new(ip.into(), u16::from_be(inet.sin6_port)))
        }
        _ => {
            // SAFETY: what is not an Internet address here is a Unix socket's, smaller than the storage.
            let unix = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_un>() };
            let offset = mem::offset_of!(libc::sockaddr_un, sun_path);
            let used = (length as usize).saturating_sub(offset).min(unix.sun_path.len());
            let bytes: Vec<u8> = unix.sun_path[..used].iter().map(|byte| *byte as u8).take_while(|b| *b != 0).collect();
            Address::Unix(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
}

/// `recv` and `send` as the system has them. The C library's let a thread be cancelled meanwhile, which takes a process of
/// several threads four locked instructions per request.
#[cfg(target_os = "linux")]
mod calls {
    use std::os::fd::RawFd;
    use std::ptr;

    use super::SEND_FLAGS;

    #[inline]
    pub(super) fn recv(fd: RawFd, buffer: &mut [u8]) -> isize {
        let (address, size) = (ptr::null_mut::<libc::sockaddr>(), ptr::null_mut::<libc::socklen_t>());
        let (to, length) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the buffer is valid for its length; nobody asks for the peer's address.
        unsafe { libc::syscall(libc::SYS_recvfrom, fd, to, length, libc::MSG_DONTWAIT, address, size) as isize }
    }

    #[inline]
    pub(super) fn send(fd: RawFd, bytes: &[u8]) -> isize {
        let (address, size) = (ptr::null::<libc::sockaddr>(), 0 as libc::socklen_t);
        // SAFETY: the buffer is valid for its length; the socket is connected.
        unsafe { libc::syscall(libc::SYS_sendto, fd, bytes.as_ptr(), bytes.len(), SEND_FLAGS, address, size) as isize }
    }
}

#[cfg(not(target_os = "linux"))]
mod calls {
    use std::os::fd::RawFd;

    use super::SEND_FLAGS;

    pub(super) fn recv(fd: RawFd, buffer: &mut [u8]) -> isize {
        // SAFETY: the buffer is valid for its length.
        unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) }
    }

    pub(super) fn send(fd: RawFd, bytes: &[u8]) -> isize {
        // SAFETY: the buffer is valid for its length.
        unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), SEND_FLAGS) }
    }
}

/// Reads what is there; `WouldBlock` when nothing is, 0 at the end.
#[inline]
pub(crate) fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let count = calls::recv(fd, buffer);
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
#[cfg(not(target_os = "linux"))]
pub(super) const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT;

/// Whether bytes have arrived that were not received yet.
pub(crate) fn has_input(fd: RawFd) -> bool {
    let mut byte = 0_u8;
    // SAFETY: room for one byte; the descriptor is open, as its owner calls.
    unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) > 0 }
}

#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let count = calls::send(fd, bytes);
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// `writev` that raises no signal.
pub(crate) fn send_vectored(fd: RawFd, parts: &[libc::iovec]) -> io::Result<usize> {
    // SAFETY: an all-zero msghdr is valid; the vector outlives the call and its parts are valid for their lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = parts.as_ptr().cast_mut();
    message.msg_iovlen = parts.len() as _;
    loop {
        // SAFETY: see above.
        let count = unsafe { libc::sendmsg(fd, &message, SEND_FLAGS) };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends `length` bytes of `file` from `offset` at most; 0 when the file is shorter than that.
#[cfg(target_os = "linux")]
pub(crate) fn send_file(fd: RawFd, file: RawFd, offset: u64, length: u64) -> io::Result<usize> {
    let mut position = offset as libc::off_t;
    // SAFETY: `position` is valid for the call.
    let count = unsafe { libc::sendfile(fd, file, &mut position, length.min(1 << 20) as usize) };
    if count >= 0 {
        return Ok(count as usize);
    }
    Err(io::Error::last_os_error())
}

/// Sends `length` bytes of `file` from `offset` at most; 0 when the file is shorter than that.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_file(fd: RawFd, file: RawFd, offset: u64, length: u64) -> io::Result<usize> {
    let mut block = [0u8; 16_384];
    let wanted = length.min(block.len() as u64) as usize;
    // SAFETY: the block is valid for `wanted` bytes.
    let count = unsafe { libc::pread(file, block.as_mut_ptr().cast(), wanted, offset as libc::off_t) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    if count == 0 {
        return Ok(0);
    }
    send(fd, &block[..count as usize])
}

/// Reads from `offset` of a file; 0 at its end.
pub(crate) fn read_file(file: RawFd, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the buffer is valid for its length.
        let count = unsafe { libc::pread(file, buffer.as_mut_ptr().cast(), buffer.len(), offset as libc::off_t) };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Bytes that were given to the socket and that the peer has not taken; 0 when the kernel does not tell.
pub(crate) fn unsent(fd: &OwnedFd) -> u32 {
    #[cfg(target_vendor = "apple")]
    return counted(|count| {
        let mut size = mem::size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option's value and its size are valid for writing.
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NWRITE, count.cast(), &mut size) }
    });
    #[cfg(not(target_vendor = "apple"))]
    // SAFETY: the request writes one int, which is valid for writing.
    counted(|count| unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, count) })
}

/// Bytes that have come and that nobody has read; 0 when the kernel does not tell.
pub(crate) fn unread(fd: &OwnedFd) -> u32 {
    // SAFETY: the request writes one int, which is valid for writing.
    counted(|count| unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, count) })
}

/// What a call writes to the pointer it is given, 0 when it fails.
fn counted(call: impl FnOnce(*mut libc::c_int) -> libc::c_int) -> u32 {
    let mut count: libc::c_int = 0;
    if call(&raw mut count) == 0 {
        u32::try_from(count).unwrap_or(0)
    } else {
        0
    }
}

/// How many milliseconds ago the last bytes came from the network, in the kernel's ticks. None when it does not tell.
pub(crate) fn last_received_ms(fd: &OwnedFd) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        // The beginning of `struct tcp_info`, as 32-bit words.
        const LAST_DATA_RECV: usize = 13;
        let mut info = [0u32; LAST_DATA_RECV + 1];
        let mut size = mem::size_of_val(&info) as libc::socklen_t;
        // SAFETY: the option's value and its size are valid for writing; the kernel writes no more than that.
        let result = unsafe {
            libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut size)
        };
        (result == 0 && size as usize == mem::size_of_val(&info)).then(|| u64::from(info[LAST_DATA_RECV]))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = fd;
        None
    }
}

/// Ends the sending side: the peer sees the end after what was sent.
pub(crate) fn shut_down_sending(fd: RawFd) {
    // SAFETY: no pointers are involved; a failure means that the connection is gone already.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Makes closing send a reset, so that the peer cannot take a cut-off response for a whole one.
pub(crate) fn reset_on_close(fd: &OwnedFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = mem::size_of_val(&linger) as libc::socklen_t;
    // SAFETY: the option's value is valid for its size.
    unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size);
    }
}
