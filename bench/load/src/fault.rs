//! What can go wrong with one exchange, and how often it did. A response that is not exactly the expected one is a
//! fault and is never counted as completed.

/// One failed exchange. The connection is closed and replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection could not be made.
    Connect,
    /// The peer closed, or reset, while a response was outstanding.
    Closed,
    /// Bytes that are not a response, or more bytes than were asked for.
    Malformed,
    /// A complete head with another status than the expected one.
    Status,
    /// A body of another length or content than the expected one.
    Body,
    /// No complete response within the time limit.
    Timeout,
}

/// Names in the order of the enum, as they appear in the JSON result.
const NAMES: [&str; 6] = ["connect", "closed", "malformed", "status", "body", "timeout"];

/// How often each fault happened.
#[derive(Default)]
pub(crate) struct FaultCounts([u64; 6]);

impl FaultCounts {
    /// Counts one fault.
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// The sum over all kinds.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The non-zero counts with their names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}
