//! Answers of one turn leave together.
//!
//! A peer that is asleep is woken by the first answer; those that follow at once find it awake. Answers that leave one by
//! one, each after the next request's application has run, wake it again and again: on a loopback, as behind a proxy on
//! the same machine, that was between a twentieth and a tenth of what a small request costs. So when several connections
//! are ready, what they produce waits for the others, for 0.3 ms at most.
//!
//! An application that blocks the loop would make those wait that are done already. Where a step has been slow, answers
//! leave one by one for the next 100 ms. Used by `turn.rs` and `http/read.rs`.

/// So long an answer waits for others.
const WAIT_NS: u64 = 300_000;
/// A step that takes longer is slow. It may have kept others' answers waiting, which must not happen again soon.
const SLOW_NS: u64 = 500_000;
const CAREFUL_NS: u64 = 100_000_000;

#[derive(Default)]
pub(crate) struct Gathering {
    on: bool,
    /// When everything had left.
    since: u64,
    /// When the last step was over.
    last: u64,
    careful_until: u64,
}

impl Gathering {
    /// So many connections are ready, and their steps begin.
    pub(crate) fn begin(&mut self, connections: usize, now: u64) {
        self.on = connections > 1 && now >= self.careful_until;
        self.since = now;
        self.last = now;
    }

    /// Whether the output of a step waits for that of the next ones.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// A step is over: whether all that waits is to leave now.
    #[inline]
    pub(crate) fn is_due(&mut self, now: u64) -> bool {
        if self.was_slow(now) {
            self.on = false;
            return true;
        }
        if now.saturating_sub(self.since) < WAIT_NS {
            return false;
        }
        self.since = now;
        true
    }

    /// The steps are over. One that nobody had to wait for may have been slow, too.
    pub(crate) fn end(&mut self, now: u64) {
        self.was_slow(now);
        self.on = false;
    }

    #[inline]
    fn was_slow(&mut self, now: u64) -> bool {
        let slow = now.saturating_sub(self.last) > SLOW_NS;
        if slow {
            self.careful_until = now + CAREFUL_NS;
        }
        self.last = now;
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: u64 = 1000;

    #[test]
    fn one_alone_does_not_wait_but_may_be_slow() {
        let mut gathering = Gathering::default();
        gathering.begin(1, 0);
        assert!(!gathering.is_on());
        gathering.end(10 * MICROSECOND);
        gathering.begin(2, 10 * MICROSECOND);
        assert!(gathering.is_on());
        gathering.end(20 * MICROSECOND);
        gathering.begin(1, 20 * MICROSECOND);
        gathering.end(1020 * MICROSECOND);
        gathering.begin(2, 1020 * MICROSECOND);
        assert!(!gathering.is_on());
    }

    #[test]
    fn quick_steps_leave_together_and_in_time() {
        let mut gathering = Gathering::default();
        gathering.begin(64, 0);
        let due: Vec<u64> = (1..=64).filter(|at| gathering.is_due(at * 10 * MICROSECOND)).collect();
        assert_eq!(due, [30, 60]);
        assert!(gathering.is_on());
    }

    #[test]
    fn after_a_slow_step_nobody_waits_for_a_while() {
        let mut gathering = Gathering::default();
        gathering.begin(3, 0);
        assert!(!gathering.is_due(10 * MICROSECOND));
        assert!(gathering.is_due(600 * MICROSECOND));
        assert!(!gathering.is_on());
        gathering.begin(3, CAREFUL_NS);
        assert!(!gathering.is_on());
        gathering.begin(3, CAREFUL_NS + 600 * MICROSECOND);
        assert!(gathering.is_on());
    }
}
