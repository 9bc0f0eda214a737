//! Where a new connection is best served: here, or by another worker. A pure function of the workers' loads.
//!
//! The cost of a wrong "keep" is an uneven spread for as long as the connection lives; that of a wrong "hand on" is about
//! ten microseconds. What is compared is the number of connections, because that is known to the unit at the moment of
//! the decision, made heavier where two slower signals say that a worker gets less out of the same number:
//!
//! 1. **Slow.** A worker that needs more than [`SLOW_US`] for a request's uninterruptible part, and [`SLOWER`] times what
//!    the fastest needs, counts each connection as many times. While one that is not slow has room ([`ROOM`]), a slow
//!    one keeps nothing: with 1 ms here and 50 ms there, one connection in a hundred is enough to make the slow one's
//!    time everybody's 99th percentile.
//! 2. **Hot.** While a loop waits for less than a fifth of the time and another for more than half of it, the first one's
//!    connections count twice, and eight more.
//!
//! A connection is handed on when this worker would have more than `min + max(2, min / 8)` with it, `min` being what the
//! least loaded other has. So 64 connections on four workers end at 17 and 15, and 1,000 at 273 and 242, however they
//! arrive: a ratio of 1.13. Without the slack, every worker would pass on what another has just passed to it. Where
//! requests hold the loop for [`BLOCKING_US`] and more, it is a single connection: waiting behind one request costs a hundred
//! times what handing on does. (Simulated with 5 ms a request, a third of the time busy: a 99th percentile of 1.3 times
//! the best possible, against 1.6.)
//!
//! Called by `super::Handoff` once per accepted connection. Knows nothing of sockets, slots in memory or clocks.

/// What is known of one worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Open connections, and those that were handed to it and are not taken yet.
    pub(crate) connections: u64,
    /// The share of the last seconds in which its loop was not waiting, 0 to 1.
    pub(crate) busy: f32,
    /// What a request costs the others on its loop, in microseconds (`super::slowness`); 0 when that is not known, which
    /// makes it one of the fastest.
    pub(crate) cost_us: u32,
    /// The part of it that is a request's first step.
    pub(crate) step_us: u32,
}

/// From here on a worker can be slow. Far above what a loaded machine does to a healthy one.
const SLOW_US: f64 = 10_000.0;
/// How many times slower than the fastest a slow one is at least.
const SLOWER: f64 = 3.0;
/// Below this, costs count as equal.
const COST_FLOOR_US: f64 = 1_000.0;
/// Requests that hold the loop so long are worth any hand-over that spares them a wait.
const BLOCKING_US: u32 = 2_000;
/// Up to this share of busy time a worker takes what a slow one gets.
const ROOM: f32 = 0.7;
/// Busier than this is hot …
const HOT: f32 = 0.8;
/// … if another is less busy than this.
const COOL: f32 = 0.5;
/// Fewer connections than this make no difference worth a hand-over.
const SLACK: f64 = 2.0;
/// Nor does this part of the least loaded one's connections.
const SLACK_PART: f64 = 8.0;

/// The position in `others` of the worker that the next connection should go to; None to keep it. `leaving`: this worker
/// ends soon and keeps a connection only when there is nobody else.
pub(crate) fn decide(own: Load, leaving: bool, others: &[Load]) -> Option<usize> {
    let fastest = fastest(&own, others);
    let heat = others.iter().chain(std::iter::once(&own)).any(|load| load.busy < COOL);
    let least = |among: &dyn Fn(&Load) -> bool| {
        others
            .iter()
            .enumerate()
            .filter(|(_, load)| among(load))
            .map(|(at, load)| (at, weighed(load, fastest, heat)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    let (target, theirs) = least(&|_| true)?;
    if leaving {
        return Some(target);
    }
    if slowness(&own, fastest) > 1.0 {
        if let Some((target, _)) = least(&|load| slowness(load, fastest) <= 1.0 && load.busy < ROOM) {
            return Some(target);
        }
    }
    let before = theirs - 1.0;
    let blocking = own.step_us.max(others[target].step_us) >= BLOCKING_US;
    let slack = if blocking { 1.0 } else { SLACK.max(before / SLACK_PART) };
    (weighed(&own, fastest, heat) > before + slack).then_some(target)
}

/// Whether connections that arrive at the others may have to wait for their loops, and this worker is not one that does
/// worse: requests hold their loops, or one of them is clearly slower than another.
pub(crate) fn can_help(own: &Load, others: &[Load]) -> bool {
    let fastest = fastest(own, others);
    let needed = |load: &Load| load.step_us >= BLOCKING_US || slowness(load, fastest) > 1.0;
    others.iter().any(needed) && slowness(own, fastest) <= 1.0
}

/// What a request costs the fastest worker of whom it is known.
fn fastest(own: &Load, others: &[Load]) -> f64 {
    let all = others.iter().chain(std::iter::once(own));
    let known = all.filter(|load| load.cost_us > 0).map(|load| f64::from(load.cost_us));
    known.fold(f64::INFINITY, f64::min).max(COST_FLOOR_US)
}

/// How many ordinary connections the worker's would be like, with one more.
fn weighed(load: &Load, fastest: f64, heat: bool) -> f64 {
    let connections = load.connections as f64;
    let counted = if heat && load.busy > HOT { 2.0 * connections + 8.0 } else { connections };
    (counted + 1.0) * slowness(load, fastest)
}

/// How many times slower than the fastest the worker clearly is; 1 when it is not.
fn slowness(load: &Load, fastest: f64) -> f64 {
    let cost = f64::from(load.cost_us);
    if cost > SLOW_US && cost >= SLOWER * fastest {
        cost / fastest
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn with(connections: u64) -> Load {
        Load { connections, busy: 0.1, cost_us: 300, step_us: 200 }
    }

    /// Connections arrive where `arrivals` says; returns what each worker has at the end, and how many moved.
    fn spread(workers: &mut [Load], arrivals: impl Iterator<Item = usize>) -> (Vec<u64>, u64) {
        let mut moved = 0;
        for at in arrivals {
            let others: Vec<Load> =
                workers.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, load)| *load).collect();
            let to = match decide(workers[at], false, &others) {
                Some(position) => {
                    moved += 1;
                    position + usize::from(position >= at)
                }
                None => at,
            };
            workers[to].connections += 1;
        }
        (workers.iter().map(|load| load.connections).collect(), moved)
    }

    /// A fixed sequence that looks like what hashing does to arrivals.
    fn hashed(count: usize, workers: usize) -> impl Iterator<Item = usize> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..count).map(move |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % workers as u64) as usize
        })
    }

    fn ratio(counts: &[u64]) -> f64 {
        let (most, least) = (counts.iter().max().copied(), counts.iter().min().copied());
        most.unwrap_or(0) as f64 / least.unwrap_or(0) as f64
    }

    #[test]
    fn nobody_else_nothing_to_decide() {
        assert_eq!(decide(with(1_000), false, &[]), None);
        assert_eq!(decide(with(1_000), true, &[]), None);
    }

    #[test]
    fn two_more_than_the_least_loaded_are_kept() {
        for (own, other, kept) in [(0, 0, true), (1, 0, true), (2, 0, false), (3, 2, true), (4, 2, false), (0, 9, true)]
        {
            assert_eq!(decide(with(own), false, &[with(other)]).is_none(), kept, "{own} here, {other} there");
        }
    }

    #[test]
    fn an_eighth_more_than_the_least_loaded_is_kept() {
        for (own, other, kept) in [(89, 80, true), (90, 80, false), (899, 800, true), (900, 800, false)] {
            assert_eq!(decide(with(own), false, &[with(other)]).is_none(), kept, "{own} here, {other} there");
        }
    }

    #[test]
    fn the_least_loaded_gets_it() {
        assert_eq!(decide(with(9), false, &[with(5), with(3), with(4)]), Some(1));
    }

    #[test]
    fn sixty_four_and_a_thousand_are_even_however_they_arrive() {
        for count in [64, 1_000] {
            for workers in [2, 3, 4, 8, 16] {
                let (counts, _) = spread(&mut vec![with(0); workers], std::iter::repeat_n(0, count));
                assert_eq!(counts.iter().sum::<u64>(), count as u64);
                let allowed = if count / workers < 16 { 2.0 } else { 1.25 };
                assert!(ratio(&counts) <= allowed, "{counts:?}");
                let (counts, _) = spread(&mut vec![with(0); workers], hashed(count, workers));
                assert!(ratio(&counts) <= allowed, "{counts:?}");
            }
        }
        let (counts, _) = spread(&mut [with(0); 4], std::iter::repeat_n(0, 64));
        assert_eq!((counts.iter().max(), counts.iter().min()), (Some(&17), Some(&15)), "{counts:?}");
    }

    #[test]
    fn what_arrives_evenly_stays_where_it_arrives() {
        let (_, moved) = spread(&mut [with(0); 4], (0..10_000).map(|at| at % 4));
        assert_eq!(moved, 0);
        // Ordinary unevenness of hashing: after the first few hundred, next to nothing moves.
        let (_, moved) = spread(&mut [with(1_000); 4], hashed(1_000, 4));
        assert_eq!(moved, 0);
    }

    #[test]
    fn a_new_worker_fills_up_first() {
        let mut workers = [with(100), with(100), with(100), with(0)];
        let (counts, _) = spread(&mut workers, hashed(80, 4));
        assert_eq!(counts, [100, 100, 100, 80]);
    }

    #[test]
    fn a_worker_that_leaves_keeps_nothing_while_there_is_another() {
        assert_eq!(decide(with(0), true, &[with(500), with(400)]), Some(1));
    }

    #[test]
    fn a_slow_worker_keeps_nothing_while_another_has_room() {
        let slow = Load { cost_us: 50_000, ..with(0) };
        assert_eq!(decide(slow, false, &[with(60), with(50)]), Some(1));
        let full = |connections| Load { busy: 0.75, ..with(connections) };
        // 50 times slower: the first connection there weighs as many as 50 here.
        assert_eq!(decide(slow, false, &[full(40)]), Some(0));
        assert_eq!(decide(slow, false, &[full(50)]), None);
    }

    #[test]
    fn nobody_hands_a_connection_to_a_slow_worker_that_is_no_better_off() {
        let slow = Load { cost_us: 50_000, ..with(0) };
        assert_eq!(decide(with(40), false, &[slow]), None);
        assert_eq!(decide(with(40), false, &[slow, with(30)]), Some(1));
        assert_eq!(decide(with(60), false, &[slow]), Some(0), "50 of ours cost as much as one of theirs");
    }

    #[test]
    fn nobody_is_slow_beside_one_of_whom_nothing_is_known() {
        let slow = Load { cost_us: 50_000, ..with(7) };
        let unknown = |connections| Load { cost_us: 0, ..with(connections) };
        assert_eq!(decide(slow, false, &[unknown(7)]), None);
        assert_eq!(decide(slow, false, &[unknown(7), with(9)]), Some(0), "slow beside another");
    }

    #[test]
    fn help_is_for_those_whose_requests_hold_their_loops() {
        let blocking = Load { cost_us: 5_000, step_us: 5_000, ..with(0) };
        let slow = Load { cost_us: 50_000, ..with(0) };
        let late = Load { cost_us: 9_000, ..with(0) };
        assert!(!can_help(&with(0), &[]));
        assert!(!can_help(&with(0), &[with(0), late]));
        assert!(can_help(&with(0), &[with(0), blocking]));
        assert!(can_help(&blocking, &[blocking]));
        assert!(can_help(&with(0), &[slow]));
        assert!(!can_help(&slow, &[blocking]));
    }

    #[test]
    fn equally_slow_workers_share_evenly() {
        let slow = |connections, cost_us| Load { cost_us, ..with(connections) };
        assert_eq!(decide(slow(8, 60_000), false, &[slow(7, 40_000)]), None);
        assert_eq!(decide(slow(9, 40_000), false, &[slow(7, 60_000)]), Some(0));
        // Differences below what a busy machine does to a healthy worker are none.
        assert_eq!(decide(slow(0, 9_000), false, &[slow(0, 100)]), None);
    }

    #[test]
    fn where_requests_block_one_connection_more_is_too_many() {
        let blocking = |connections| Load { cost_us: 5_000, step_us: 5_000, ..with(connections) };
        assert_eq!(decide(blocking(0), false, &[blocking(0)]), None);
        assert_eq!(decide(blocking(1), false, &[blocking(0)]), Some(0));
        assert_eq!(decide(blocking(100), false, &[blocking(99)]), Some(0));
        let (counts, moved) = spread(&mut [blocking(0); 4], (0..1_000).map(|at| at % 4));
        assert_eq!((counts, moved), (vec![250; 4], 0));
    }

    #[test]
    fn a_hot_worker_hands_on_to_a_cool_one_up_to_twice_its_connections() {
        let hot = |connections| Load { busy: 0.9, ..with(connections) };
        let warm = |connections| Load { busy: 0.6, ..with(connections) };
        assert_eq!(decide(hot(10), false, &[with(12)]), Some(0));
        assert_eq!(decide(hot(10), false, &[with(40)]), None);
        assert_eq!(decide(hot(10), false, &[warm(10)]), None);
        assert_eq!(decide(with(30), false, &[hot(12)]), None, "and gets none, although it has fewer");
        assert_eq!(decide(with(40), false, &[hot(12)]), Some(0));
        assert_eq!(decide(hot(13), false, &[hot(10)]), Some(0), "all hot: the numbers decide");
    }

    #[test]
    fn numbers_beyond_reason_do_no_harm() {
        let absurd = Load { connections: u64::MAX, busy: f32::NAN, cost_us: u32::MAX, step_us: u32::MAX };
        assert_eq!(decide(absurd, false, &[with(0)]), Some(0));
        assert_eq!(decide(with(5), false, &[absurd]), None);
        decide(absurd, false, &[absurd, absurd]);
    }
}
