//! The result as one line of JSON on standard output. Called by `run` and `idle`; read by the measuring rig.

use std::io::Write;

use crate::driver::Stats;

/// Members of a JSON object, in order. All values are numbers or objects of numbers, so nothing needs escaping.
pub(crate) struct Object(String);

impl Object {
    /// An empty object.
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    /// Adds a member; `value` is JSON already.
    fn raw(mut self, name: &str, value: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&format!("\"{name}\":{value}"));
        self
    }

    /// Adds a whole number.
    pub(crate) fn count(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// Adds a number with three decimals.
    pub(crate) fn number(self, name: &str, value: f64) -> Self {
        self.raw(name, &if value.is_finite() { format!("{value:.3}") } else { "null".into() })
    }

    /// Adds what was counted: exchanges, faults by kind, latency.
    pub(crate) fn stats(self, stats: &Stats) -> Self {
        let mut faults = Object::new();
        for (name, count) in stats.faults.named() {
            faults = faults.count(name, count);
        }
        let latency = &stats.latency;
        let latency = Object::new()
            .number("p50", latency.quantile_us(0.5))
            .number("p90", latency.quantile_us(0.9))
            .number("p99", latency.quantile_us(0.99))
            .number("p999", latency.quantile_us(0.999))
            .number("max", latency.max_us())
            .number("mean", latency.mean_us());
        self.count("completed", stats.completed)
            .count("reconnects", stats.reconnects)
            .raw("faults", &faults.end())
            .raw("latency_us", &latency.end())
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// Writes the line.
    pub(crate) fn print(self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", self.end())?;
        out.flush()
    }
}
