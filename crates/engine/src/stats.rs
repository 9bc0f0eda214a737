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
