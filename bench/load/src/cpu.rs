//! CPU time of processes, from `/proc/PID/stat` (`utime` + `stime`, all threads). Linux only. Called by `run`.

use std::fs;

/// The CPU time that these processes have used so far, in seconds. A process that has gone counts nothing.
pub(crate) fn used_seconds(processes: &[u32]) -> f64 {
    let ticks: u64 = processes.iter().filter_map(|pid| ticks_of(&format!("/proc/{pid}/stat"))).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// The CPU time that this program has used so far, in seconds.
pub(crate) fn own_seconds() -> f64 {
    ticks_of("/proc/self/stat").unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn ticks_of(path: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    parse(&text)
}

/// Fields 14 and 15; the program's name in field 2 may contain anything, so counting starts after its last bracket.
fn parse(text: &str) -> Option<u64> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 17 5 9 9 20 0 1 0 100 200 300";
        assert_eq!(super::parse(text), Some(22));
    }

    #[test]
    fn this_process_is_found() {
        assert!(super::ticks_of("/proc/self/stat").is_some());
    }
}
