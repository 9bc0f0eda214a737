//! The phases of a measurement: connect and warm up, maybe wait for the word, then the window. Called by `main`.

use std::io::BufRead;
use std::time::{Duration, Instant};

use crate::args::{Args, Body};
use crate::cpu;
use crate::driver::{Driver, Protocol, Until};
use crate::http::Plan;
use crate::report::Object;
use crate::response::Expected;

/// Connections that are being opened at the same time, below any server's accept backlog.
const OPENING: usize = 64;
/// Opening, and asking again, take at most this long.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// The HTTP plan of a command line.
pub(crate) fn plan(args: &Args, one_batch: bool) -> Plan {
    let (length, body) = match &args.expect_body {
        Body::Exactly(bytes) => (bytes.len(), Some(bytes.clone())),
        Body::Length(length) => (*length, None),
    };
    let expected = Expected { status: args.expect_status, length, body };
    Plan { request: args.request(), depth: args.depth, close: args.close, one_batch, expected }
}

/// Measures one window of `protocol`; true when the run is worth something.
pub(crate) fn window<P: Protocol>(args: &Args, protocol: P) -> std::io::Result<bool> {
    let mut driver = Driver::new(protocol, args.address, args.response_limit)?;
    driver.add(args.connections);
    driver.run(Until { deadline: Instant::now() + args.warmup, completed: u64::MAX })?;
    let warmup_faults = driver.stats.faults.total();
    if args.wait_start {
        wait_for_word(Object::new().count("ready", 1))?;
    }
    driver.reset();
    let (server_before, own_before) = (cpu::used_seconds(&args.watch), cpu::own_seconds());
    let start = Instant::now();
    driver.run(Until { deadline: start + args.window, completed: args.requests })?;
    let seconds = start.elapsed().as_secs_f64();
    let server_cpu = cpu::used_seconds(&args.watch) - server_before;
    let own_cpu = cpu::own_seconds() - own_before;
    let completed = driver.stats.completed;
    Object::new()
        .number("seconds", seconds)
        .number("per_second", completed as f64 / seconds)
        .number("server_cpu_seconds", server_cpu)
        .number("server_cpu_us_each", server_cpu * 1e6 / completed as f64)
        .number("client_cpu_seconds", own_cpu)
        .number("client_cpu_us_each", own_cpu * 1e6 / completed as f64)
        .count("warmup_faults", warmup_faults)
        .stats(&driver.stats)
        .print()?;
    Ok(completed > 0 && driver.stats.faults.total() == 0 && warmup_faults == 0)
}

/// Opens connections with one exchange on each, holds them until told, then asks each once more.
pub(crate) fn idle(args: &Args) -> std::io::Result<bool> {
    let protocol = crate::http::Http::new(plan(args, true));
    let mut driver = Driver::new(protocol, args.address, args.response_limit)?;
    let deadline = Instant::now() + OPEN_LIMIT;
    let mut opened = 0;
    while opened < args.connections && Instant::now() < deadline {
        let step = OPENING.min(args.connections - opened);
        driver.add(step);
        opened += step;
        driver.run(Until { deadline, completed: opened as u64 })?;
    }
    let open = driver.stats.completed;
    let opening_faults = driver.stats.faults.total();
    wait_for_word(Object::new().count("ready", 1).count("open", open).count("opening_faults", opening_faults))?;
    driver.reset();
    let deadline = Instant::now() + OPEN_LIMIT;
    for index in 0..opened {
        driver.resume(index);
        if (index + 1) % OPENING == 0 || index + 1 == opened {
            // A lost connection is replaced and asks again, so every step completes.
            driver.run(Until { deadline, completed: (index + 1) as u64 })?;
        }
    }
    let alive = driver.stats.completed.saturating_sub(driver.stats.faults.total());
    Object::new().count("open", open).count("alive", alive).stats(&driver.stats).print()?;
    Ok(open == args.connections as u64 && alive == open && opening_faults == 0)
}

/// Tells the caller that everything is in place, and waits until it answers with a line (or goes away).
fn wait_for_word(message: Object) -> std::io::Result<()> {
    message.print()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(())
}
