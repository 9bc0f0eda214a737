//! How long a worker's loop keeps others waiting: what a request there costs before the next can begin.
//!
//! Two observations add up. The time a request holds the loop in its first step, taken over whole turns (one clock
//! reading a turn, not one a request). And how late the engine's own timer is, which also sees what blocks outside of
//! first steps. Each is the mean of what was recently seen, for as long as that is more than one observation: then it is
//! forgotten, and a worker that gets nothing more because it was slow is tried again.
//!
//! Fed by `crate::turn` and the beat; read by the decision, here and in the other workers. No clock of its own.

/// What was seen counts half after this time.
const HALF_LIFE_MS: f64 = 5_000.0;
/// What is left of fewer observations tells nothing. So one request that takes long is no sign and two are. A worker that
/// was slow is tried again after five seconds, or 25 when it was slow for long; with 100 connections a second, that is one
/// in 500.
const SIGN: f64 = 1.05;
/// So many observations tell as much as more: a worker that turns slow is known to be after about ten requests.
const ENOUGH: f64 = 32.0;
/// The first request of a worker loads what the application imports late: it tells nothing.
const WARMING: u32 = 1;
/// Observations are taken for this at most, so that one request of a minute is forgotten like one of two seconds.
const MOST_US: f64 = 2_000_000.0;
/// Lateness that timers and schedulers do not explain.
const LATE_US: f64 = 5_000.0;

/// A fading mean.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    sum: f64,
    weight: f64,
    at: u64,
}

impl Recent {
    fn observe(&mut self, total_us: f64, count: u32, now: u64) {
        let count = f64::from(count);
        self.fade(now);
        self.sum += total_us.min(MOST_US * count);
        self.weight += count;
        if self.weight > ENOUGH {
            self.sum *= ENOUGH / self.weight;
            self.weight = ENOUGH;
        }
    }

    fn fade(&mut self, now: u64) {
        let passed = now.saturating_sub(self.at);
        // The engine's clock is coarse, and what is left of steps this small makes no difference.
        if passed >= 50 {
            let left = (-(passed as f64) / HALF_LIFE_MS).exp2();
            self.sum *= left;
            self.weight *= left;
            self.at = now;
        }
    }

    fn mean_us(&mut self, now: u64) -> Option<f64> {
        self.fade(now);
        (self.weight >= SIGN).then(|| self.sum / self.weight)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowness {
    steps: Recent,
    lateness: Recent,
    warmed: u32,
}

impl Slowness {
    /// A turn in which `requests` applications took their first step lasted so long. `now`: engine milliseconds.
    #[inline]
    pub(crate) fn turned(&mut self, ns: u64, requests: u32, now: u64) {
        if requests == 0 {
            return;
        }
        if self.warmed < WARMING {
            self.warmed += requests;
            return;
        }
        self.steps.observe(ns as f64 / 1_000.0, requests, now);
    }

    /// The engine's timer came so late.
    pub(crate) fn late(&mut self, ns: u64, now: u64) {
        self.lateness.observe(ns as f64 / 1_000.0, 1, now);
    }

    /// What a request costs the others, in microseconds; 0 when that is not known.
    pub(crate) fn cost_us(&mut self, now: u64) -> u32 {
        let late = self.lateness.mean_us(now).unwrap_or(0.0);
        match self.steps.mean_us(now) {
            Some(steps) => (steps + late).max(1.0) as u32,
            // A loop that is free says nothing about requests that it does not get.
            None if late < LATE_US => 0,
            None => late as u32,
        }
    }

    /// The part of it that is the request's first step. A busy machine makes every loop late, but lengthens steps only as
    /// much as they are long.
    pub(crate) fn step_us(&mut self, now: u64) -> u32 {
        self.steps.mean_us(now).unwrap_or(0.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    /// The limit of `super::super::decide`.
    const SLOW_US: u32 = 10_000;

    fn warm(requests: u32, ns: u64) -> Slowness {
        let mut slowness = Slowness::default();
        slowness.turned(0, WARMING, 1_000);
        for _ in 0..requests {
            slowness.turned(ns, 1, 1_000);
        }
        slowness
    }

    #[test]
    fn requests_cost_what_they_take() {
        for us in [30, 1_000, 50_000] {
            let cost = warm(100, us * 1_000).cost_us(1_000);
            assert!(cost.abs_diff(us as u32) <= 1, "{cost}");
        }
    }

    #[test]
    fn two_requests_tell_and_one_does_not() {
        assert_eq!(warm(1, 50 * MS).cost_us(1_000), 0);
        assert_eq!(warm(2, 50 * MS).cost_us(1_000), 50_000);
    }

    #[test]
    fn the_first_request_tells_nothing() {
        let mut slowness = Slowness::default();
        slowness.turned(3_000 * MS, 1, 1_000);
        slowness.turned(MS, 2, 1_500);
        assert_eq!(slowness.cost_us(1_500), 500);
    }

    #[test]
    fn one_slow_request_among_many_is_no_sign() {
        let mut slowness = warm(100, MS);
        slowness.turned(100 * MS, 1, 1_000);
        assert!(slowness.cost_us(1_000) < SLOW_US);
    }

    #[test]
    fn a_worker_that_turns_slow_is_known_after_ten_requests() {
        let mut slowness = warm(10_000, MS);
        for _ in 0..10 {
            slowness.turned(50 * MS, 1, 1_500);
        }
        assert!(slowness.cost_us(1_500) > SLOW_US);
    }

    #[test]
    fn what_was_seen_is_forgotten_and_the_worker_is_tried_again() {
        for (requests, ns, earliest, latest) in
            [(2, 50 * MS, 3, 6), (4, 50 * MS, 8, 11), (1_000, 50 * MS, 20, 26), (1_000, 60_000 * MS, 20, 26)]
        {
            let mut slowness = warm(requests, ns);
            let again = (1..100).find(|second| slowness.cost_us(1_000 + second * 1_000) == 0);
            assert!(again.is_some_and(|second| (earliest..=latest).contains(&second)), "{requests} of {ns}: {again:?}");
        }
    }

    #[test]
    fn tried_again_and_still_slow_is_one_request_in_five_seconds() {
        let mut slowness = warm(2, 50 * MS);
        let mut tries = 0;
        for tick in 0..600 {
            let now = 1_000 + tick * 100;
            if slowness.cost_us(now) <= SLOW_US {
                slowness.turned(50 * MS, 1, now);
                tries += 1;
            }
        }
        assert!((10..=13).contains(&tries), "{tries} in a minute");
    }

    #[test]
    fn a_turn_of_many_requests_counts_each() {
        let mut slowness = warm(0, 0);
        slowness.turned(64 * MS, 64, 1_000);
        assert_eq!(slowness.cost_us(1_000), 1_000);
        assert_eq!(slowness.step_us(1_000), 1_000);
    }

    #[test]
    fn lateness_adds() {
        let mut slowness = warm(100, MS);
        for beat in 0..20 {
            slowness.late(25 * MS, 1_000 + beat * 100);
        }
        assert!(slowness.cost_us(3_000) > SLOW_US);
        assert_eq!(slowness.step_us(3_000), 1_000);
        for beat in 0..300 {
            slowness.late(0, 3_000 + beat * 100);
        }
        assert!(slowness.cost_us(33_000) < 1_000);
    }

    #[test]
    fn a_free_loop_without_requests_is_not_known() {
        let mut slowness = Slowness::default();
        for beat in 0..20 {
            slowness.late(MS, beat * 1_000);
        }
        assert_eq!(slowness.cost_us(20_000), 0);
    }
}
