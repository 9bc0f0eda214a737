//! Counters of one engine.

use pyo3::prelude::*;
use pyo3::types::PyDict;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Counted since the engine was made.
        #[derive(Clone, Default)]
        pub(crate) struct Stats {
            $($(#[doc = $doc])* pub(crate) $name: u64,)*
        }

        impl Stats {
            pub(crate) fn export<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let all = PyDict::new(py);
                $(all.set_item(stringify!($name), self.$name)?;)*
                Ok(all)
            }
        }
    };
}

counters! {
    /// Connections accepted, whoever serves them.
    accepted,
    /// Connections handed to other workers.
    handed_over,
    /// Connections taken over from other workers.
    taken_over,
    /// Requests handed to the application.
    requests,
    /// Requests refused before the application saw them.
    refused,
    /// Requests answered 503 because of the concurrency limit.
    overloaded,
    /// Deadlines that ended a request or connection.
    timed_out,
    /// TLS handshakes completed, and how many of them went on with an earlier session.
    handshakes,
    handshakes_resumed,
    /// TLS handshakes that failed: the client spoke no TLS, or there was nothing in common.
    handshakes_without_tls,
    handshakes_incompatible,
    /// The client's certificate was missing or not accepted; the client refused; time was up; the client went away.
    handshakes_client_certificate,
    handshakes_refused_by_client,
    handshakes_timed_out,
    handshakes_aborted,
    /// What came broke the protocol; the server could not.
    handshakes_malformed,
    handshakes_internal,
    /// HTTP/2: connections, and streams on them.
    h2_connections,
    h2_streams,
    /// Streams that clients have reset: they want no answer any more, or say another reason.
    h2_resets_received_cancel,
    h2_resets_received_other,
    /// Streams that the server has reset: too many applications run for the connection; the client gave no window for too
    /// long; it took too long or nobody was to answer; the answer failed.
    h2_resets_sent_refused,
    h2_resets_sent_stalled,
    h2_resets_sent_cancelled,
    h2_resets_sent_failed,
    /// Connections that ended because of the client's resets, pieces of a header section, frames that carry nothing; after
    /// the configured number of streams; because it broke the protocol.
    h2_closed_resets,
    h2_closed_pieces,
    h2_closed_overhead,
    h2_closed_streams,
    h2_closed_protocol,
    /// WebSocket connections opened.
    websockets,
    /// Exceptions that left the application.
    application_errors,
    /// Failures inside the engine that cost one connection.
    engine_faults,
    /// Bytes read from sockets.
    bytes_received,
    /// Bytes written to sockets.
    bytes_sent,
}

impl Stats {
    /// What the scoreboard says of HTTP/2, in the order of its words.
    pub(crate) fn of_h2(&self) -> [u64; 13] {
        [
            self.h2_connections,
            self.h2_streams,
            self.h2_resets_received_cancel,
            self.h2_resets_received_other,
            self.h2_resets_sent_refused,
            self.h2_resets_sent_stalled,
            self.h2_resets_sent_cancelled,
            self.h2_resets_sent_failed,
            self.h2_closed_resets,
            self.h2_closed_pieces,
            self.h2_closed_overhead,
            self.h2_closed_streams,
            self.h2_closed_protocol,
        ]
    }

    /// What the scoreboard says of TLS handshakes, in the order of its words.
    pub(crate) fn of_handshakes(&self) -> [u64; 10] {
        [
            self.handshakes,
            self.handshakes_resumed,
            self.handshakes_without_tls,
            self.handshakes_incompatible,
            self.handshakes_client_certificate,
            self.handshakes_refused_by_client,
            self.handshakes_timed_out,
            self.handshakes_aborted,
            self.handshakes_malformed,
            self.handshakes_internal,
        ]
    }
}
