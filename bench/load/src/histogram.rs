//! A latency histogram with logarithmic buckets: 64 steps per power of two, so a quantile is off by at most 1.6 %.
//!
//! Recording is one shift and one add; nothing is allocated after construction. Used by `driver`, read by `report`.

use std::time::Duration;

const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;

/// Counts of durations, in nanoseconds.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum_ns: u128,
    max_ns: u64,
}

impl Histogram {
    /// An empty histogram that covers every `u64` of nanoseconds.
    pub(crate) fn new() -> Self {
        let ranges = 64 - STEP_BITS as usize + 1;
        Self { buckets: vec![0; ranges * STEPS], count: 0, sum_ns: 0, max_ns: 0 }
    }

    /// Forgets everything recorded so far.
    pub(crate) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.sum_ns = 0;
        self.max_ns = 0;
    }

    /// Adds one duration.
    pub(crate) fn record(&mut self, value: Duration) {
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[index_of(ns)] += 1;
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// The value below which `quantile` (0..=1) of the records lie, in microseconds: the middle of its bucket.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let rank = ((self.count as f64 * quantile).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let (low, width) = bounds_of(index);
                return ((low as f64) + (width as f64) / 2.0).min(self.max_ns as f64) / 1000.0;
            }
        }
        self.max_ns as f64 / 1000.0
    }

    /// The arithmetic mean in microseconds.
    pub(crate) fn mean_us(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.sum_ns as f64 / self.count as f64 / 1000.0
    }

    /// The largest record in microseconds, exact.
    pub(crate) fn max_us(&self) -> f64 {
        self.max_ns as f64 / 1000.0
    }
}

fn index_of(ns: u64) -> usize {
    let bits = 64 - ns.leading_zeros();
    if bits <= STEP_BITS {
        return ns as usize;
    }
    let shift = bits - STEP_BITS - 1;
    let step = (ns >> shift) as usize & (STEPS - 1);
    (shift as usize + 1) * STEPS + step
}

fn bounds_of(index: usize) -> (u64, u64) {
    if index < STEPS {
        return (index as u64, 1);
    }
    let shift = index / STEPS - 1;
    let step = index % STEPS;
    (((STEPS + step) as u64) << shift, 1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..5000).chain([u64::MAX, 1 << 40, (1 << 40) - 1, 123_456_789]) {
            let (low, width) = bounds_of(index_of(value));
            assert!(low <= value && value - low < width, "{value}: {low} + {width}");
            assert!(width == 1 || width as f64 / low as f64 <= 1.0 / STEPS as f64);
        }
    }

    #[test]
    fn quantiles_of_a_uniform_row() {
        let mut histogram = Histogram::new();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        assert!((histogram.quantile_us(0.5) - 500.0).abs() < 10.0);
        assert!((histogram.quantile_us(0.99) - 990.0).abs() < 17.0);
        assert!((histogram.max_us() - 1000.0).abs() < f64::EPSILON);
        assert!((histogram.mean_us() - 500.5).abs() < 0.1);
    }
}
