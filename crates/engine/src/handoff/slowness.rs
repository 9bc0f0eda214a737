//! How long a worker's loop keeps others waiting: what a request there costs before the next can begin.
//!
//! Two observations add up. The time a request holds the loop in its first step, taken over whole turns (one clock
//! reading a turn, not one a request). And how late the engine's own timer is, which also sees what blocks outside of
//! first steps. Each is the mean of what was recently seen, and fades: a worker that gets nothing more is tried again.
//!
//! Fed by `crate::turn` and the beat; read by the decision, here and in the other workers. No clock of its own.

/// What was seen counts half after this time.
const HALF_LIFE_MS: f64 = 5_000.0;
/// Nothing seen counts as so many requests that took no time. One request of 50 ms is not enough to look slow
/// (10 ms is the limit), two are; having been slow, a worker is tried again after five seconds (50 ms a request) to twenty
/// (500 ms), which is one connection in a few hundred.
const PRIOR: f64 = 4.0;
/// So many observations tell as much as more: a worker that turns slow is known to be after about ten requests.
const ENOUGH: f64 = 32.0;
/// The first requests of a worker load what the application imports late and fill its caches: they tell nothing.
const WARMING: u32 = 2;
/// Observations are taken for this at most, so that one request of a minute is forgotten like one of two seconds.
const MOST_US: f64 = 2_000_000.0;

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

    fn mean_us(&mut self, now: u64) -> f64 {
        self.fade(now);
        self.sum / (self.weight + PRIOR)
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

    /// What a request costs the others, in microseconds.
    pub(crate) fn cost_us(&mut self, now: u64) -> u32 {
        (self.steps.mean_us(now) + self.lateness.mean_us(now)) as u32
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
    fn fast_requests_cost_what_they_take() {
        let cost = warm(1_000, MS).cost_us(1_000);
        assert!((850..=1_000).contains(&cost), "{cost}");
    }

    #[test]
    fn two_slow_requests_tell_and_one_does_not() {
        assert!(warm(1, 50 * MS).cost_us(1_000) <= SLOW_US);
        assert!(warm(2, 50 * MS).cost_us(1_000) > SLOW_US);
    }

    #[test]
    fn the_first_requests_tell_nothing() {
        let mut slowness = Slowness::default();
        slowness.turned(3_000 * MS, 1, 1_000);
        slowness.turned(500 * MS, 1, 1_500);
        assert_eq!(slowness.cost_us(1_500), 0);
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
    fn what_was_seen_fades_and_the_worker_is_tried_again() {
        for (requests, ns, earliest, latest) in
            [(2, 50 * MS, 2, 10), (32, 50 * MS, 10, 30), (2, 500 * MS, 15, 40), (1, 60_000 * MS, 15, 45)]
        {
            let mut slowness = warm(requests, ns);
            let again = (1..100).find(|second| slowness.cost_us(1_000 + second * 1_000) <= SLOW_US);
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
        assert!((6..=15).contains(&tries), "{tries} in a minute");
    }

    #[test]
    fn a_turn_of_many_requests_counts_each() {
        let mut slowness = warm(0, 0);
        slowness.turned(64 * MS, 64, 1_000);
        assert!(slowness.cost_us(1_000) <= 1_000);
    }

    #[test]
    fn lateness_adds() {
        let mut slowness = warm(100, MS);
        for beat in 0..20 {
            slowness.late(25 * MS, 1_000 + beat * 100);
        }
        assert!(slowness.cost_us(3_000) > SLOW_US);
        for beat in 0..300 {
            slowness.late(0, 3_000 + beat * 100);
        }
        assert!(slowness.cost_us(33_000) < 1_000);
    }
}
