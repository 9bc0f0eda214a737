//! Real sockets, invented loads.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;

use super::forward::forward;
use super::*;

/// A pair as the parent makes it: (receiving end, sending end).
fn inbox() -> (OwnedFd, OwnedFd) {
    let mut pair = [0; 2];
    // SAFETY: room for two descriptors, which are new and nobody else's afterwards.
    unsafe {
        assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr()), 0);
        (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1]))
    }
}

struct Invented(RefCell<Vec<Option<Load>>>);

impl Invented {
    fn new(connections: &[Option<u64>]) -> Self {
        let load = |connections| Load { connections, busy: 0.0, cost_us: 0, step_us: 0 };
        Self(RefCell::new(connections.iter().map(|connections| connections.map(load)).collect()))
    }

    fn counts(&self) -> Vec<Option<u64>> {
        self.0.borrow().iter().map(|load| load.map(|load| load.connections)).collect()
    }
}

impl Peers for Invented {
    fn load(&self, slot: usize) -> Option<Load> {
        self.0.borrow()[slot]
    }

    fn add_incoming(&self, slot: usize) {
        self.0.borrow_mut()[slot].iter_mut().for_each(|load| load.connections += 1);
    }

    fn remove_incoming(&self, slot: usize) {
        self.0.borrow_mut()[slot].iter_mut().for_each(|load| load.connections -= 1);
    }
}

fn own(connections: u64) -> Load {
    Load { connections, busy: 0.0, cost_us: 0, step_us: 0 }
}

/// A connection: our end, the client's.
fn connection() -> (OwnedFd, UnixStream) {
    let (ours, client) = UnixStream::pair().unwrap();
    (ours.into(), client)
}

/// A worker in slot 0 that can send to the others.
fn sender(outboxes: &[&OwnedFd]) -> Handoff {
    let fds: Vec<RawFd> = std::iter::once(-1).chain(outboxes.iter().map(|fd| fd.as_raw_fd())).collect();
    Handoff::new(0, -1, &fds).unwrap()
}

fn receiver(slot: usize, inbox: &OwnedFd) -> Handoff {
    Handoff::new(slot, inbox.as_raw_fd(), &[]).unwrap()
}

fn taken(handoff: &mut Handoff) -> (OwnedFd, usize, u8, bool) {
    match handoff.take(false) {
        Taken::Connection { fd, listener, hops, counted } => (fd, listener, hops, counted),
        Taken::Malformed(malformed) => panic!("{malformed}"),
        _ => panic!("nothing there"),
    }
}

/// What is written to the descriptor reaches the client, and it is the only one: its end is the client's end.
fn is_the_only_end_of(fd: OwnedFd, client: &mut UnixStream) {
    UnixStream::from(fd).write_all(b"hello").unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");
}

#[test]
fn a_connection_goes_to_the_least_loaded_and_nowhere_else() {
    let (first, first_out) = inbox();
    let (second, second_out) = inbox();
    let peers = Invented::new(&[None, Some(9), Some(4)]);
    let (fd, mut client) = connection();
    assert!(sender(&[&first_out, &second_out]).hand_on(&peers, own(20), false, 3, 0, fd).is_none());
    assert_eq!(peers.counts(), [None, Some(9), Some(5)]);
    assert!(matches!(receiver(1, &first).take(false), Taken::Nothing));
    let mut second = receiver(2, &second);
    let (fd, listener, hops, counted) = taken(&mut second);
    assert_eq!((listener, hops, counted), (3, 1, true));
    // SAFETY: the flags of an open descriptor.
    assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
    is_the_only_end_of(fd, &mut client);
    assert!(matches!(second.take(false), Taken::Nothing));
}

#[test]
fn a_thousand_at_once_are_spread_although_nobody_takes_them_yet() {
    let pairs: Vec<_> = (0..3).map(|_| inbox()).collect();
    let peers = Invented::new(&[None, Some(0), Some(0), Some(0)]);
    let mut worker = sender(&pairs.iter().map(|(_, out)| out).collect::<Vec<_>>());
    let mut kept = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..400 {
        let (fd, client) = connection();
        clients.push(client);
        kept.extend(worker.hand_on(&peers, own(kept.len() as u64), false, 0, 0, fd));
    }
    let counts: Vec<u64> = peers.counts().into_iter().flatten().chain([kept.len() as u64]).collect();
    assert_eq!(counts.iter().sum::<u64>(), 400);
    let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
    assert!(*most as f64 / *least as f64 <= 1.25, "{counts:?}");
}

#[test]
fn one_that_is_balanced_keeps_what_it_gets() {
    let (_inbox, out) = inbox();
    let (fd, mut client) = connection();
    let kept = sender(&[&out]).hand_on(&Invented::new(&[None, Some(19)]), own(20), false, 0, 0, fd);
    is_the_only_end_of(kept.unwrap(), &mut client);
}

#[test]
fn nobody_is_ready() {
    let (_inbox, out) = inbox();
    let (fd, mut client) = connection();
    let kept = sender(&[&out]).hand_on(&Invented::new(&[None, None]), own(500), true, 0, 0, fd);
    is_the_only_end_of(kept.unwrap(), &mut client);
}

#[test]
fn an_inbox_that_is_gone_or_full_is_passed_over() {
    let (gone, gone_out) = inbox();
    drop(gone);
    let (_full, full_out) = inbox();
    let (fd, _client) = connection();
    while passing::send(full_out.as_raw_fd(), b"x", fd.as_fd()).is_ok() {}
    let (third, third_out) = inbox();
    let peers = Invented::new(&[None, Some(0), Some(0), Some(7)]);
    let mut worker = sender(&[&gone_out, &full_out, &third_out]);
    // The sender has made its queue longer.
    while passing::send(full_out.as_raw_fd(), b"x", fd.as_fd()).is_ok() {}
    let (fd, mut client) = connection();
    assert!(worker.hand_on(&peers, own(20), false, 0, 0, fd).is_none());
    assert_eq!(peers.counts(), [None, Some(0), Some(0), Some(8)]);
    is_the_only_end_of(taken(&mut receiver(3, &third)).0, &mut client);
    drop(third);
    let (fd, mut client) = connection();
    let kept = worker.hand_on(&peers, own(20), true, 0, 0, fd);
    assert_eq!(peers.counts(), [None, Some(0), Some(0), Some(8)]);
    is_the_only_end_of(kept.unwrap(), &mut client);
}

#[test]
fn a_connection_stops_wandering() {
    let (_inbox, out) = inbox();
    let peers = Invented::new(&[None, Some(0)]);
    let (fd, _client) = connection();
    assert!(sender(&[&out]).hand_on(&peers, own(20), true, 0, HOPS_MAX, fd).is_some());
}

#[test]
fn malformed_messages_are_dropped_with_what_they_carry() {
    let (inbox, out) = inbox();
    let mut worker = receiver(1, &inbox);
    let good = Header { listener: 0, sender: 0, counted: true, hops: 0 }.encode();
    let mut magic = good;
    magic[0] = 0;
    for bytes in [&magic[..], b"short", &[0; 100]] {
        let (fd, mut client) = connection();
        passing::send(out.as_raw_fd(), bytes, fd.as_fd()).unwrap();
        drop(fd);
        assert!(matches!(worker.take(false), Taken::Malformed(_)));
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "its connection is closed");
    }
    // SAFETY: the buffer is valid for its length.
    let sent = unsafe { libc::send(out.as_raw_fd(), good.as_ptr().cast(), good.len(), 0) };
    assert_eq!(sent, 16);
    assert!(matches!(worker.take(false), Taken::Malformed(Malformed::Descriptors)));
    let (fd, mut client) = connection();
    passing::send(out.as_raw_fd(), &good, fd.as_fd()).unwrap();
    drop(fd);
    is_the_only_end_of(taken(&mut worker).0, &mut client);
}

#[test]
fn the_end_of_all_senders_is_the_end_of_the_inbox() {
    let (inbox, out) = inbox();
    let mut worker = receiver(1, &inbox);
    let (fd, _client) = connection();
    passing::send(out.as_raw_fd(), &Header { listener: 0, sender: 0, counted: false, hops: 0 }.encode(), fd.as_fd())
        .unwrap();
    drop(out);
    assert!(matches!(worker.take(true), Taken::Connection { .. }));
    assert!(matches!(worker.take(true), Taken::Ended));
}

#[test]
fn a_dead_workers_connections_are_forwarded_once_each() {
    let (dead, dead_out) = inbox();
    let (living, living_out) = inbox();
    let peers = Invented::new(&[None, Some(0)]);
    let mut worker = sender(&[&dead_out]);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let (fd, client) = connection();
        assert!(worker.hand_on(&peers, own(500), false, 2, 0, fd).is_none());
        clients.push(client);
    }
    let (stray, mut stray_client) = connection();
    passing::send(dead_out.as_raw_fd(), b"not ours", stray.as_fd()).unwrap();
    drop(stray);
    assert_eq!(forward(dead.as_fd(), living_out.as_fd()).unwrap(), 20);
    assert_eq!(stray_client.read(&mut [0]).unwrap(), 0);
    assert_eq!(forward(dead.as_fd(), living_out.as_fd()).unwrap(), 0);
    let mut living = receiver(1, &living);
    for mut client in clients {
        let (fd, listener, _, counted) = taken(&mut living);
        assert_eq!((listener, counted), (2, false));
        is_the_only_end_of(fd, &mut client);
    }
    assert!(matches!(living.take(false), Taken::Nothing));
}

#[test]
fn what_a_full_inbox_does_not_take_stays_for_another() {
    let (dead, dead_out) = inbox();
    let (full, full_out) = inbox();
    let header = Header { listener: 0, sender: 0, counted: true, hops: 0 }.encode();
    let mut clients = Vec::new();
    let mut sent = 0;
    loop {
        let (fd, client) = connection();
        if passing::send(dead_out.as_raw_fd(), &header, fd.as_fd()).is_err() {
            break;
        }
        clients.push(client);
        sent += 1;
    }
    let (fd, _client) = connection();
    for _ in 0..sent / 2 {
        passing::send(full_out.as_raw_fd(), &header, fd.as_fd()).unwrap();
    }
    let moved = forward(dead.as_fd(), full_out.as_fd()).unwrap();
    assert!(0 < moved && moved < sent, "{moved} of {sent}");
    let (other, other_out) = inbox();
    assert_eq!(forward(dead.as_fd(), other_out.as_fd()).unwrap(), sent - moved);
    let mut full = receiver(1, &full);
    for _ in 0..sent / 2 {
        drop(taken(&mut full));
    }
    let mut other = receiver(2, &other);
    for (at, mut client) in clients.into_iter().enumerate() {
        is_the_only_end_of(taken(if at < moved { &mut full } else { &mut other }).0, &mut client);
    }
    // Nobody's other end is gone either.
    drop((full, other));
    drop(dead_out);
    assert_eq!(forward(dead.as_fd(), other_out.as_fd()).unwrap(), 0);
}
