//! Reading from a TLS connection: the PROXY preface before it, the handshake, records.
//!
//! [`receive`] is what `recv` is to a plain connection. Called by `crate::http::read::pull` and by nobody else.

use std::io;
use std::os::fd::AsRawFd;

use super::alpn;
use super::budget::Turn;
use super::failure::{self, Reason};
use super::session::{Opened, Phase};
use crate::conn::Protocol;
use crate::core::{Inner, RECEIVE_SIZE};
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::io::{clock, socket};
use crate::proxy;

/// The content type of handshake records, which every TLS connection begins with (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Reads and decrypts what is there into `plain`; 0 at the end, `WouldBlock` when nothing is there, `Interrupted` when what
/// was there is no plaintext.
pub(crate) fn receive(inner: &mut Inner, key: Key, plain: &mut [u8]) -> io::Result<usize> {
    let Some(conn) = inner.conns.get_mut(key) else { return Err(io::ErrorKind::WouldBlock.into()) };
    let (Some(tls), Some(fd)) = (&mut conn.tls, conn.carrier.socket()) else {
        return Err(io::ErrorKind::WouldBlock.into());
    };
    if tls.ended {
        return Ok(0);
    }
    let handshaking = matches!(tls.phase, Phase::Expected | Phase::Handshake);
    if handshaking && inner.tls.budget.postpone(key) == Turn::Later {
        conn.readable = false;
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let fd = fd.as_raw_fd();
    let mut raw = inner.buffers.pop().unwrap_or_else(|| vec![0; RECEIVE_SIZE].into_boxed_slice());
    let held = tls.partial.len();
    raw[..held].copy_from_slice(&tls.partial);
    let read = socket::receive(fd, &mut raw[held..]);
    let outcome = match read {
        Ok(0) => {
            if tls.phase == Phase::Handshake {
                failure::tell(inner, key, Reason::Aborted, "the client went away during the handshake");
            }
            Ok(0)
        }
        Ok(count) => {
            inner.stats.bytes_received += count as u64;
            inner.passed += count as u64;
            conn.readable = held + count == raw.len() || conn.hangup;
            tls.partial = Vec::new();
            if handshaking {
                let started = clock::precise_ns();
                let outcome = take(inner, key, &mut raw[..held + count], plain);
                inner.tls.budget.spend(clock::precise_ns() - started);
                outcome
            } else {
                take(inner, key, &mut raw[..held + count], plain)
            }
        }
        Err(error) => {
            conn.readable = false;
            Err(error)
        }
    };
    inner.buffers.push(raw);
    outcome
}

/// Uses what was received.
fn take(inner: &mut Inner, key: Key, mut raw: &mut [u8], plain: &mut [u8]) -> io::Result<usize> {
    let nothing = || Err(io::ErrorKind::Interrupted.into());
    let Some(conn) = inner.conns.get_mut(key) else { return nothing() };
    if let Protocol::Preface = conn.protocol {
        let used = proxy::preface(inner, key, raw);
        let Some(conn) = inner.conns.get_mut(key) else { return nothing() };
        match used {
            Some(used) => raw = &mut raw[used..],
            None if matches!(conn.protocol, Protocol::Preface) => {
                conn.tls.iter_mut().for_each(|tls| tls.partial = raw.to_vec());
                return nothing();
            }
            // Who does not speak the PROXY protocol gets no answer: TLS has not begun.
            None => return Err(io::ErrorKind::ConnectionReset.into()),
        }
        if raw.is_empty() {
            return nothing();
        }
    }
    let Some(conn) = inner.conns.get_mut(key) else { return nothing() };
    let Some(tls) = &mut conn.tls else { return nothing() };
    if tls.phase == Phase::Over {
        return nothing();
    }
    if tls.phase == Phase::Expected {
        if raw.first() != Some(&HANDSHAKE) {
            failure::no_tls(inner, key, raw);
            return nothing();
        }
        let started = match &inner.tls.config {
            Some(config) => tls.start(config).is_ok(),
            None => false,
        };
        if !started {
            failure::failed(inner, key, Reason::Internal, "there is no certificate");
            return nothing();
        }
    }
    let opened = tls.open(raw, plain);
    // What the handshake says leaves with what follows, at the end of this step.
    if tls.waiting() > 0 {
        conn.out.sealed = tls.waiting() as u32;
        inner.mark_dirty(key);
    }
    match opened {
        Ok(Opened { used, plain, established }) => {
            keep(inner, key, &raw[used..]);
            if established {
                self::established(inner, key);
            }
            // Whatever came with the end is delivered first.
            if let Some(conn) = inner.conns.get_mut(key).filter(|conn| conn.tls.as_ref().is_some_and(|tls| tls.ended)) {
                conn.readable = true;
            }
            if plain > 0 {
                Ok(plain)
            } else {
                nothing()
            }
        }
        Err(error) => {
            failure::of_rustls(inner, key, &error);
            nothing()
        }
    }
}

/// Keeps a record that has not come whole.
fn keep(inner: &mut Inner, key: Key, rest: &[u8]) {
    if let (false, Some(tls)) = (rest.is_empty(), inner.conns.get_mut(key).and_then(|conn| conn.tls.as_mut())) {
        tls.partial = rest.to_vec();
    }
}

/// The handshake is complete: from now on the time for a request runs.
fn established(inner: &mut Inner, key: Key) {
    inner.deadlines.disarm(Kind::Handshake, key.index);
    inner.deadlines.arm(Kind::Head, key.index, inner.now);
    let Some(tls) = inner.conns.get_mut(key).and_then(|conn| conn.tls.as_ref()) else { return };
    let Some(session) = tls.session() else { return };
    inner.stats.handshakes += 1;
    if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        inner.stats.handshakes_resumed += 1;
    }
    let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
    alpn::begin(inner, key, protocol.as_deref());
}
