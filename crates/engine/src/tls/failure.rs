//! Handshakes that come to nothing: counted by reason, told in the log without flooding it, and answered.
//!
//! Anyone on the network can make handshakes fail, so the log has one line per reason and period, with the number of those
//! that were left out.

use rustls::{Error, PeerIncompatible};

use super::session::Phase;
use crate::conn::Protocol;
use crate::core::{level, Inner};
use crate::io::slots::Key;
use crate::lifecycle;

/// One line per reason in this time, in milliseconds.
const PERIOD_MS: u64 = 10_000;

/// Why there is no connection. The names are those of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The client speaks HTTP, or something else, without TLS.
    NoTls,
    /// No version, cipher suite, group, signature scheme or application protocol in common.
    Incompatible,
    /// The client's certificate is missing or not accepted.
    ClientCertificate,
    /// The client has refused, most often because of the server's certificate.
    RefusedByClient,
    /// `timeout_handshake`.
    Timeout,
    /// The client went away in the middle.
    Aborted,
    /// What came breaks the protocol.
    Malformed,
    /// Not the client's fault.
    Internal,
}

const REASONS: usize = Reason::Internal as usize + 1;

#[derive(Default)]
pub(crate) struct Failures {
    told: [Told; REASONS],
}

#[derive(Clone, Copy, Default)]
struct Told {
    /// When the next line may be written; 0 at first.
    next: u64,
    left_out: u64,
}

impl Failures {
    /// Whether a line is due. Some: with so many that were left out since the last one.
    fn due(&mut self, reason: Reason, now: u64) -> Option<u64> {
        let told = &mut self.told[reason as usize];
        if now < told.next {
            told.left_out += 1;
            return None;
        }
        told.next = now + PERIOD_MS;
        Some(std::mem::take(&mut told.left_out))
    }
}

/// Counts and tells.
pub(crate) fn tell(inner: &mut Inner, key: Key, reason: Reason, text: &str) {
    let stats = &mut inner.stats;
    *match reason {
        Reason::NoTls => &mut stats.handshakes_without_tls,
        Reason::Incompatible => &mut stats.handshakes_incompatible,
        Reason::ClientCertificate => &mut stats.handshakes_client_certificate,
        Reason::RefusedByClient => &mut stats.handshakes_refused_by_client,
        Reason::Timeout => &mut stats.handshakes_timed_out,
        Reason::Aborted => &mut stats.handshakes_aborted,
        Reason::Malformed => &mut stats.handshakes_malformed,
        Reason::Internal => &mut stats.handshakes_internal,
    } += 1;
    let Some(left_out) = inner.tls.failures.due(reason, inner.now) else { return };
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let mut line = format!("{}: no TLS connection: {text}", conn.peer);
    if left_out > 0 {
        line.push_str(&format!(" (and {left_out} more of this kind since the last such line)"));
    }
    let level = match reason {
        Reason::Aborted | Reason::Timeout => level::DEBUG,
        Reason::Internal => level::ERROR,
        _ => level::INFO,
    };
    inner.report(level, line);
}

/// A failure that rustls has found, in the handshake or later. The alert is on its way out.
pub(super) fn of_rustls(inner: &mut Inner, key: Key, error: &Error) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    if !matches!(conn.protocol, Protocol::Idle) || conn.serial > 0 {
        // An exchange is cut off: a record was damaged, or the client has ended with an alert.
        let peer = conn.peer.to_string();
        if let Error::AlertReceived(alert) = error {
            inner.report(level::DEBUG, format!("{peer}: the client has ended the TLS connection: {alert:?}"));
        } else {
            inner.report(level::WARNING, format!("{peer}: TLS connection closed: {error}"));
        }
        lifecycle::flush(inner, key);
        lifecycle::lose(inner, key, true);
        return;
    }
    failed(inner, key, reason(error), &error.to_string());
}

/// The handshake has failed: what is left to say is sent, then the connection ends.
pub(super) fn failed(inner: &mut Inner, key: Key, reason: Reason, text: &str) {
    tell(inner, key, reason, text);
    if let Some(tls) = inner.conns.get_mut(key).and_then(|conn| conn.tls.as_mut()) {
        tls.phase = Phase::Over;
    }
    inner.deadlines.disarm(crate::io::deadlines::Kind::Handshake, key.index);
    lifecycle::close_after_sending(inner, key);
}

/// What came first is no TLS. To an HTTP request there is an answer that a person can read.
pub(super) fn no_tls(inner: &mut Inner, key: Key, bytes: &[u8]) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    inner.deadlines.disarm(crate::io::deadlines::Kind::Handshake, key.index);
    if !bytes.first().is_some_and(u8::is_ascii_uppercase) {
        return failed(inner, key, Reason::NoTls, "the client does not speak TLS");
    }
    conn.tls = None;
    tell(inner, key, Reason::NoTls, "the client speaks HTTP without TLS");
    lifecycle::refuse(inner, key, 400, "this port speaks HTTPS: the address begins with https://", b"");
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon)
        | Error::NoCertificatesPresented
        | Error::InvalidCertificate(_) => Reason::ClientCertificate,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Reason::Incompatible,
        Error::AlertReceived(_) => Reason::RefusedByClient,
        Error::InvalidMessage(_)
        | Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => Reason::Malformed,
        _ => Reason::Internal,
    }
}
