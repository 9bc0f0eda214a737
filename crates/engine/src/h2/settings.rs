//! What this server tells HTTP/2 clients and what it allows them, from the engine's options.

use ::h2::server::Builder;

use crate::settings::Settings;

/// Response bytes of one stream that wait in the `h2` crate.
const SEND_BUFFER: usize = 64 * 1024;

pub(crate) struct Options {
    pub(super) builder: Builder,
    /// Streams of one connection whose applications may run, those included whose client has gone.
    pub(super) running_max: usize,
    /// Streams after which the connection ends; 0 for never.
    pub(super) streams_max: u64,
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
            .max_header_list_size(u32::try_from(settings.limit_head_size).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(settings.h2_max_resets as usize)
            .max_send_buffer_size(SEND_BUFFER);
        if settings.websockets {
            builder.enable_connect_protocol();
        }
        Self {
            builder,
            running_max: 2 * settings.h2_max_streams as usize,
            streams_max: settings.limit_requests_per_connection,
            resets_max: settings.h2_max_resets,
            overhead_max: settings.h2_max_overhead,
            http1: settings.http != "2",
            http2: settings.http != "1.1",
        }
    }
}
