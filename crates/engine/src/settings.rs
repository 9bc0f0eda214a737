//! The engine's options: one typed object from Python (`swell.worker.settings.EngineSettings`), read once.

use std::net::IpAddr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use swell_wire::fields::forwarded::Convention;
use swell_wire::fields::networks::Networks;
use swell_wire::limits::HeadLimits;

use crate::io::deadlines::{Kind, KINDS};

/// Times are in seconds with 0 for "off", sizes in bytes with 0 for "no limit".
#[derive(FromPyObject)]
pub(crate) struct Settings {
    pub(crate) root_path: String,
    /// Extra response fields, already encoded (`name: value\r\n` each).
    pub(crate) default_headers: Vec<u8>,
    /// A further response field for TLS connections, encoded; empty for none.
    pub(crate) hsts: Vec<u8>,
    pub(crate) server_header: bool,
    pub(crate) date_header: bool,
    pub(crate) eager_start: bool,
    pub(crate) cancel_on_disconnect: bool,

    pub(crate) access_log: bool,
    pub(crate) access_json: bool,
    pub(crate) access_colors: bool,
    /// Where access lines are written, unless there is an `access_sink`.
    pub(crate) access_fd: i32,
    /// Called with lists of entries (see `crate::access::entry`).
    pub(crate) access_sink: Option<Py<PyAny>>,
    /// `off`, `make` or `take`.
    pub(crate) request_id: String,
    pub(crate) request_id_header: String,
    pub(crate) request_id_response: bool,

    /// Peers whose forwarding fields are believed; empty for nobody.
    #[pyo3(from_py_with = networks)]
    pub(crate) forwarders: Networks,
    /// `x-forwarded` or `forwarded`.
    pub(crate) forwarded_convention: String,
    /// Peers that must start with a PROXY protocol preface; empty for nobody.
    #[pyo3(from_py_with = networks)]
    pub(crate) proxy_protocol_from: Networks,
    /// Connections on a Unix socket are closed unless they come from this user or from root.
    pub(crate) owner_only: bool,

    /// `auto`, `1.1` or `2`.
    pub(crate) http: String,
    pub(crate) h2_max_streams: u32,
    pub(crate) h2_stream_window: u32,
    pub(crate) h2_connection_window: u32,
    /// Per connection and ten seconds.
    pub(crate) h2_max_resets: u32,
    pub(crate) h2_max_overhead: u32,

    pub(crate) limit_request_line: usize,
    pub(crate) limit_head_fields: usize,
    pub(crate) limit_head_size: usize,
    pub(crate) limit_body_size: u64,
    pub(crate) limit_requests_per_connection: u64,
    /// After so many requests `retire` is called, once.
    pub(crate) limit_max_requests: u64,
    pub(crate) limit_concurrency: usize,
    pub(crate) limit_queue: usize,

    pub(crate) timeout_handshake: f64,
    /// A turn of the event loop that takes longer is told, see `crate::board::Slow`.
    pub(crate) slow_callback: f64,
    pub(crate) timeout_header: f64,
    pub(crate) timeout_keep_alive: f64,
    pub(crate) timeout_request: f64,
    pub(crate) timeout_queue: f64,
    pub(crate) timeout_write: f64,
    /// Bytes per second that a request body must bring on average, after the grace period.
    pub(crate) body_rate_min: u64,
    pub(crate) body_rate_grace: f64,

    pub(crate) websockets: bool,
    pub(crate) ws_max_size: usize,
    pub(crate) ws_max_queue: usize,
    pub(crate) ws_max_fragments: usize,
    pub(crate) ws_inflate_ratio: u32,
    pub(crate) ws_per_message_deflate: bool,
    pub(crate) ws_ping_interval: f64,
    pub(crate) ws_ping_timeout: f64,
    pub(crate) ws_close_timeout: f64,
}

/// How long a closing connection is read on for bytes that were under way, in milliseconds (RFC 9112 §9.6).
const LINGER_MS: u64 = 2_000;
/// How long an idle connection keeps its header memo, in milliseconds.
const COOL_MS: u64 = 2_000;

fn milliseconds(seconds: f64) -> u64 {
    if seconds > 0.0 {
        (seconds * 1000.0).ceil() as u64
    } else {
        0
    }
}

fn networks(list: &Bound<'_, PyAny>) -> PyResult<Networks> {
    let list: String = list.extract()?;
    Networks::parse(&list).map_err(|error| PyValueError::new_err(format!("{}: {}", error.item, error.reason)))
}

impl Settings {
    /// True for peers whose forwarding fields are believed.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        !self.forwarders.is_empty() && self.forwarders.contains_peer(peer)
    }

    /// True for peers that speak the PROXY protocol.
    pub(crate) fn expects_preface(&self, peer: Option<IpAddr>) -> bool {
        !self.proxy_protocol_from.is_empty() && self.proxy_protocol_from.contains_peer(peer)
    }

    pub(crate) fn convention(&self) -> Convention {
        if self.forwarded_convention == "forwarded" {
            Convention::Forwarded
        } else {
            Convention::XForwarded
        }
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        HeadLimits { request_line: self.limit_request_line, fields: self.limit_head_fields, head: self.limit_head_size }
    }

    pub(crate) fn timeouts(&self) -> [u64; KINDS.len()] {
        KINDS.map(|kind| match kind {
            Kind::Handshake => milliseconds(self.timeout_handshake),
            Kind::Head => milliseconds(self.timeout_header),
            Kind::KeepAlive => milliseconds(self.timeout_keep_alive),
            Kind::Cool => COOL_MS,
            Kind::Body if self.body_rate_min == 0 => 0,
            Kind::Body => milliseconds(self.body_rate_grace),
            Kind::Write => milliseconds(self.timeout_write),
            Kind::Request => milliseconds(self.timeout_request),
            Kind::Queue => milliseconds(self.timeout_queue),
            Kind::Ping => milliseconds(self.ws_ping_interval),
            Kind::Pong => milliseconds(self.ws_ping_timeout),
            Kind::CloseFrame => milliseconds(self.ws_close_timeout),
            Kind::Linger => LINGER_MS,
        })
    }
}
