//! Where everything is in the file. A change here needs another [`VERSION`].
//!
//! All numbers are little-endian 64-bit words. A page of header, then the slots. Words are grouped by who writes
//! them, a cache line (8 words) or more to each group, so that the parent, a peer and the worker itself do not take
//! lines from each other.

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SWELLSCB");
pub(crate) const VERSION: u64 = 3;

/// Words of the header.
pub(super) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    pub(crate) const SLOTS: usize = 2;
    pub(crate) const SLOT_SIZE: usize = 3;
    pub(crate) const WORDS: usize = 4;
}

/// Bytes of the header, a page on most systems.
pub(super) const HEADER_SIZE: usize = 4096;
/// Bytes of a slot, whole pages.
pub(super) const SLOT_SIZE: usize = 53_248;
pub(super) const SLOT_WORDS: usize = SLOT_SIZE / 8;
/// More slots than anybody has workers; a file of 208 MiB.
pub(super) const SLOTS_MAX: usize = 4096;

/// Buckets of a histogram. Bucket 0 counts what took less than 1 µs, bucket n from 2^(n-1) to 2^n µs; the last has no end.
pub(super) const BUCKETS: usize = 32;

/// A text is at most this many bytes; what is longer is cut.
pub(super) const TEXT_WORDS: usize = 29;
/// Words of a text with what belongs to it: a quarter of a kilobyte.
pub(super) const ENTRY_WORDS: usize = 32;
/// Suspended requests that a slot names.
pub(super) const WAITING: usize = 32;

const HISTOGRAMS_AT: usize = 128;
const CURRENT_AT: usize = HISTOGRAMS_AT + 3 * BUCKETS;
const WAITING_AT: usize = CURRENT_AT + ENTRY_WORDS;
/// Where `series.rs` counts requests by what they were.
pub(super) const SERIES_AT: usize = WAITING_AT + WAITING * ENTRY_WORDS;
const _: () = assert!(SERIES_AT + super::series::SERIES * super::series::SERIES_WORDS <= SLOT_WORDS);

macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident = $at:literal),* $(,)?) => {
        /// The plain numbers of a slot, by their position.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum Word {
            $($(#[doc = $doc])* $name = $at,)*
        }
    };
}

words! {
    // The parent's.
    Worker = 0,
    Generation = 1,
    /// An index into [`STATES`].
    State = 2,

    /// Connections handed to this worker that it has not taken yet. The one word with several writers.
    Incoming = 8,

    // The engine's.
    Pid = 16,
    StartedNs = 17,
    HeartbeatNs = 18,
    Turns = 19,
    /// Turns that the engine's own beat made.
    Beats = 20,
    Accepted = 21,
    Connections = 22,
    InFlight = 23,
    Websockets = 24,
    Requests = 25,
    /// By class; four more follow.
    Responses = 26,
    Refused = 31,
    TimedOut = 32,
    ApplicationErrors = 33,
    BytesReceived = 34,
    BytesSent = 35,
    HandedOver = 36,
    TakenOver = 37,
    /// What a request costs the others on the loop, in microseconds (`crate::handoff::slowness`).
    CostUs = 38,
    /// The part of it that is the request's first step.
    StepUs = 39,

    // The sampler's.
    Samples = 40,
    BusySamples = 41,
    CpuNs = 42,
    RssBytes = 43,
    /// The share of busy samples in the last second or so, in thousandths.
    Busy = 44,

    // Python's.
    PoolSize = 48,
    PoolBusy = 49,
    PoolWaiting = 50,
    GcPauses = 51,
    GcPauseNs = 52,

    // The engine's again.
    /// Requests answered 503 because of the concurrency limit; they are among the refused.
    Overloaded = 64,
    EngineFaults = 65,
    /// All so far.
    WebsocketsOpened = 66,
    /// Nanoseconds in each histogram, in their order; two more follow.
    Sums = 67,
    /// TLS handshakes, completed and failed, in the order of `crate::stats`; nine more follow.
    Handshakes = 72,

    // The engine's, of HTTP/2: written when they change, which they never do without.
    /// Connections that speak it now.
    H2Open = 96,
    /// Streams that are open now.
    H2StreamsOpen = 97,
    /// Counters, in the order of `crate::stats`; twelve more follow.
    H2 = 98,
}

/// What the engine clears when it begins: its own words and the sampler's, then everything behind Python's.
pub(super) const CLEARED: [std::ops::Range<usize>; 2] =
    [Word::Pid as usize..Word::PoolSize as usize, Word::Overloaded as usize..SLOT_WORDS];

/// The words by their names in Python, but for the state.
pub(super) const NAMED: [(&str, usize); 65] = [
    ("worker", Word::Worker as usize),
    ("generation", Word::Generation as usize),
    ("pid", Word::Pid as usize),
    ("started_ns", Word::StartedNs as usize),
    ("heartbeat_ns", Word::HeartbeatNs as usize),
    ("turns", Word::Turns as usize),
    ("accepted", Word::Accepted as usize),
    ("connections", Word::Connections as usize),
    ("handed_over", Word::HandedOver as usize),
    ("taken_over", Word::TakenOver as usize),
    ("incoming", Word::Incoming as usize),
    ("in_flight", Word::InFlight as usize),
    ("websockets", Word::Websockets as usize),
    ("requests", Word::Requests as usize),
    ("responses_1xx", Word::Responses as usize),
    ("responses_2xx", Word::Responses as usize + 1),
    ("responses_3xx", Word::Responses as usize + 2),
    ("responses_4xx", Word::Responses as usize + 3),
    ("responses_5xx", Word::Responses as usize + 4),
    ("refused", Word::Refused as usize),
    ("overloaded", Word::Overloaded as usize),
    ("timed_out", Word::TimedOut as usize),
    ("application_errors", Word::ApplicationErrors as usize),
    ("engine_faults", Word::EngineFaults as usize),
    ("websockets_opened", Word::WebsocketsOpened as usize),
    ("bytes_received", Word::BytesReceived as usize),
    ("bytes_sent", Word::BytesSent as usize),
    ("samples", Word::Samples as usize),
    ("busy_samples", Word::BusySamples as usize),
    ("busy", Word::Busy as usize),
    ("cpu_ns", Word::CpuNs as usize),
    ("rss_bytes", Word::RssBytes as usize),
    ("pool_size", Word::PoolSize as usize),
    ("pool_busy", Word::PoolBusy as usize),
    ("pool_waiting", Word::PoolWaiting as usize),
    ("gc_pauses", Word::GcPauses as usize),
    ("gc_pause_ns", Word::GcPauseNs as usize),
    ("handshakes", Word::Handshakes as usize),
    ("handshakes_resumed", Word::Handshakes as usize + 1),
    ("handshakes_without_tls", Word::Handshakes as usize + 2),
    ("handshakes_incompatible", Word::Handshakes as usize + 3),
    ("handshakes_client_certificate", Word::Handshakes as usize + 4),
    ("handshakes_refused_by_client", Word::Handshakes as usize + 5),
    ("handshakes_timed_out", Word::Handshakes as usize + 6),
    ("handshakes_aborted", Word::Handshakes as usize + 7),
    ("handshakes_malformed", Word::Handshakes as usize + 8),
    ("handshakes_internal", Word::Handshakes as usize + 9),
    ("h2_open", Word::H2Open as usize),
    ("h2_streams_open", Word::H2StreamsOpen as usize),
    ("h2_connections", Word::H2 as usize),
    ("h2_streams", Word::H2 as usize + 1),
    ("h2_resets_received_cancel", Word::H2 as usize + 2),
    ("h2_resets_received_other", Word::H2 as usize + 3),
    ("h2_resets_sent_refused", Word::H2 as usize + 4),
    ("h2_resets_sent_stalled", Word::H2 as usize + 5),
    ("h2_resets_sent_cancelled", Word::H2 as usize + 6),
    ("h2_resets_sent_failed", Word::H2 as usize + 7),
    ("h2_closed_resets", Word::H2 as usize + 8),
    ("h2_closed_pieces", Word::H2 as usize + 9),
    ("h2_closed_overhead", Word::H2 as usize + 10),
    ("h2_closed_streams", Word::H2 as usize + 11),
    ("h2_closed_protocol", Word::H2 as usize + 12),
    ("latency_ns", Word::Sums as usize),
    ("dispatch_delay_ns", Word::Sums as usize + 1),
    ("loop_lag_ns", Word::Sums as usize + 2),
];

/// The words that Python notes.
pub(super) const NOTED: std::ops::Range<usize> = Word::PoolSize as usize..Word::GcPauseNs as usize + 1;

pub(super) const STATES: [&str; 6] = ["empty", "starting", "ready", "draining", "stopping", "stuck"];
/// The state in which a worker takes connections over.
pub(super) const READY: u64 = 2;
/// The state of a worker that the parent has found stuck.
pub(super) const STUCK: u64 = 5;
/// Those in which its end has begun.
pub(super) const LEAVING: std::ops::RangeInclusive<u64> = 3..=4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Histogram {
    /// From the parsed head to the response's last byte.
    Latency,
    /// From the request's arrival to the application's first step.
    DispatchDelay,
    /// How late the engine's own timer was.
    LoopLag,
}

pub(super) const HISTOGRAMS: [(&str, Histogram); 3] =
    [("latency", Histogram::Latency), ("dispatch_delay", Histogram::DispatchDelay), ("loop_lag", Histogram::LoopLag)];

/// The words of one worker's slot, or of the part of it that a text takes.
#[repr(transparent)]
pub(crate) struct Slot(pub(super) [AtomicU64; SLOT_WORDS]);

impl Slot {
    #[inline]
    pub(super) fn load(&self, at: usize) -> u64 {
        u64::from_le(self.0[at].load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn store(&self, at: usize, value: u64) {
        self.0[at].store(value.to_le(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self, word: Word) -> u64 {
        self.load(word as usize)
    }

    #[inline]
    pub(crate) fn set(&self, word: Word, value: u64) {
        self.store(word as usize, value);
    }

    /// For the word's one writer: a load, an addition and a store.
    #[inline]
    pub(super) fn add(&self, at: usize, count: u64) {
        self.store(at, self.load(at).wrapping_add(count));
    }

    /// Counts one duration. For the histogram's one writer.
    #[inline]
    pub(super) fn count(&self, histogram: Histogram, nanoseconds: u64) {
        self.add(HISTOGRAMS_AT + histogram as usize * BUCKETS + bucket(nanoseconds), 1);
        self.add(Word::Sums as usize + histogram as usize, nanoseconds);
    }

    pub(super) fn buckets(&self, histogram: Histogram) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.load(HISTOGRAMS_AT + histogram as usize * BUCKETS + at))
    }

    /// The text of the request whose first step runs.
    #[inline]
    pub(super) fn current(&self) -> &[AtomicU64] {
        &self.0[CURRENT_AT..CURRENT_AT + ENTRY_WORDS]
    }

    /// The texts of suspended requests.
    pub(super) fn waiting(&self, place: usize) -> &[AtomicU64] {
        let at = WAITING_AT + (place % WAITING) * ENTRY_WORDS;
        &self.0[at..at + ENTRY_WORDS]
    }
}

/// The bucket of a duration: powers of two of microseconds.
#[inline]
fn bucket(nanoseconds: u64) -> usize {
    ((u64::BITS - (nanoseconds / 1000).leading_zeros()) as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double() {
        for (nanoseconds, expected) in [
            (0, 0),
            (999, 0),
            (1_000, 1),
            (1_999, 1),
            (2_000, 2),
            (3_999, 2),
            (4_000, 3),
            (1_000_000, 10),
            (u64::MAX, 31),
        ] {
            assert_eq!(bucket(nanoseconds), expected, "{nanoseconds}");
        }
    }
}
