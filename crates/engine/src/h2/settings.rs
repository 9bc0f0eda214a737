//! What this server tells HTTP/2 clients and what it allows them, from the engine's options.

use ::h2::server::Builder;

use crate::settings::Settings;

/// Response bytes of one stream that wait in the `h2` crate.
const SEND_BUFFER: usize = 64 * 1024;
/// What the size of a header section counts for each field beyond its bytes (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Pseudo-header fields with their overhead, and what a field of the composed head has less than a listed one.
const PSEUDO_FIELDS: usize = 6;

pub(crate) struct Options {
    pub(super) builder: Builder,
    /// Streams of one connection whose applications may run, those included whose client has gone.
    pub(super) running_max: usize,
    /// Streams after which the connection ends; 0 for never.
    pub(super) streams_max: u64,
    /// What this server gives a client to begin with, in bytes.
    pub(super) stream_window: usize,
    pub(super) connection_window: usize,
    /// Per period.
    pub(super) resets_max: u32,
    pub(super) overhead_max: u32,
    /// Which protocols are spoken in clear text.
    pub(crate) http1: bool,
    pub(crate) http2: bool,
}

impl Options {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(settings.h2_max_streams)
            .initial_window_size(settings.h2_stream_window)
            .initial_connection_window_size(settings.h2_connection_window)
            .max_header_list_size(header_list_max(settings))
            .max_pending_accept_reset_streams(settings.h2_max_resets as usize)
            .max_send_buffer_size(SEND_BUFFER);
        if settings.websockets {
            builder.enable_connect_protocol();
        }
        Self {
            builder,
            running_max: 2 * settings.h2_max_streams as usize,
            // Without time to idle the first request is the last one, as over HTTP/1.1; those that are under way already
            // are served.
            streams_max: if settings.timeout_keep_alive > 0.0 { settings.limit_requests_per_connection } else { 1 },
            stream_window: settings.h2_stream_window as usize,
            connection_window: settings.h2_connection_window as usize,
            resets_max: settings.h2_max_resets,
            overhead_max: settings.h2_max_overhead,
            http1: settings.http != "2",
            http2: settings.http != "1.1",
        }
    }
}

/// Beyond it the `h2` crate refuses by itself. A head of `limit_head_size` bytes, counted as over HTTP/1.1, stays below:
/// its limit is for `compose` to hold, which says so in the log.
fn header_list_max(settings: &Settings) -> u32 {
    let overhead = FIELD_OVERHEAD * (settings.limit_head_fields + PSEUDO_FIELDS);
    u32::try_from(settings.limit_head_size.saturating_add(overhead)).unwrap_or(u32::MAX)
}
