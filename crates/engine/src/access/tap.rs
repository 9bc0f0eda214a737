//! A tap on the access log: somebody follows it, through a socket, besides wherever it is written.
//!
//! Lines that the follower has asked for leave at the end of a turn, without waiting. What does not fit into the socket
//! is kept up to [`WAITING_MAX`]; lines beyond that are dropped and counted, and the count is sent as a line of its own.
//! Neither the log nor a request ever waits for a follower. Without one there is no tap.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::line::notice;
use super::{Format, Over};

/// Bytes that may wait for the follower, besides the socket's own buffer.
const WAITING_MAX: usize = 256 * 1024;

/// What the follower wants to see.
pub(crate) struct Filter {
    /// A bit per class of status; bit 0 is a request without a response.
    pub(crate) statuses: u8,
    /// Nanoseconds: not what was faster.
    pub(crate) slower: u64,
    /// Only lines with these bytes in them, if there are any.
    pub(crate) contains: Vec<u8>,
}

pub(crate) struct Tap {
    socket: OwnedFd,
    filter: Filter,
    waiting: Vec<u8>,
    lost: u64,
}

impl Tap {
    pub(crate) fn new(socket: OwnedFd, filter: Filter) -> Self {
        Self { socket, filter, waiting: Vec::new(), lost: 0 }
    }

    pub(super) fn take(&mut self, line: &[u8], over: &Over<'_>, duration: u64) {
        let class = u32::from(over.status / 100).min(7);
        let wanted = self.filter.statuses >> class & 1 == 1
            && duration >= self.filter.slower
            && (self.filter.contains.is_empty() || memchr::memmem::find(line, &self.filter.contains).is_some());
        if !wanted {
            return;
        }
        if self.waiting.len() + line.len() > WAITING_MAX {
            self.lost += 1;
        } else {
            self.waiting.extend_from_slice(line);
        }
    }

    /// False: the follower has gone.
    pub(super) fn send(&mut self, format: Format) -> bool {
        while !self.waiting.is_empty() {
            // SAFETY: the buffer is valid for its length. Never waits, never raises SIGPIPE.
            let sent = unsafe {
                libc::send(
                    self.socket.as_raw_fd(),
                    self.waiting.as_ptr().cast(),
                    self.waiting.len(),
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => drop(self.waiting.drain(..sent)),
                Err(_) => match io::Error::last_os_error().kind() {
                    io::ErrorKind::WouldBlock => return true,
                    io::ErrorKind::Interrupted => {}
                    _ => return false,
                },
            }
            if self.waiting.is_empty() && self.lost > 0 {
                notice(&mut self.waiting, std::mem::take(&mut self.lost), format);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::super::End;
    use super::*;

    fn over(status: u16) -> Over<'static> {
        Over { now: 0, status, bytes_in: 0, bytes_out: 0, end: End::Complete, refusal: None }
    }

    fn tap(filter: Filter) -> io::Result<(Tap, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Tap::new(ours.into(), filter), theirs))
    }

    fn everything() -> Filter {
        Filter { statuses: u8::MAX, slower: 0, contains: Vec::new() }
    }

    #[test]
    fn only_what_is_wanted_passes() -> io::Result<()> {
        let filter = Filter { statuses: 1 << 5 | 1, slower: 1000, contains: b"/a".to_vec() };
        let (mut tap, mut theirs) = tap(filter)?;
        for (line, status, duration) in [
            (&b"/a ok\n"[..], 500, 1000),
            (b"/a none\n", 0, 2000),
            (b"/b path\n", 500, 2000),
            (b"/a status\n", 200, 2000),
            (b"/a fast\n", 500, 999),
        ] {
            tap.take(line, &over(status), duration);
        }
        assert!(tap.send(Format::Json));
        let mut read = [0; 100];
        let count = theirs.read(&mut read)?;
        assert_eq!(&read[..count], b"/a ok\n/a none\n");
        Ok(())
    }

    #[test]
    fn a_slow_follower_loses_lines_and_is_told_how_many() -> io::Result<()> {
        let (mut tap, mut theirs) = tap(everything())?;
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..4000 {
            tap.take(&line, &over(200), 0);
            assert!(tap.send(Format::Json));
        }
        let lost = tap.lost;
        assert!(lost > 0);
        theirs.set_nonblocking(true)?;
        let (mut all, mut part) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(count) = theirs.read(&mut part) {
            all.extend_from_slice(&part[..count]);
            assert!(tap.send(Format::Json));
        }
        let text = String::from_utf8_lossy(&all);
        let (whole, told): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.len() == 999);
        assert_eq!(whole.len() as u64 + lost, 4000);
        assert!(matches!(told[..], [one] if one.contains(&format!("\"lines_lost\":{lost}"))), "{told:?}");
        Ok(())
    }

    #[test]
    fn a_follower_that_leaves_is_noticed() -> io::Result<()> {
        let (mut tap, theirs) = tap(everything())?;
        drop(theirs);
        assert!(tap.send(Format::Json), "nothing was to be sent");
        tap.take(b"x\n", &over(200), 0);
        assert!(!tap.send(Format::Json));
        Ok(())
    }
}
