//! What a request head costs: nanoseconds per head for typical inputs, best of several rounds.
//!
//! `cargo run --release -p swell-wire --example head_cost`
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::hint::black_box;
use std::time::Instant;

use swell_wire::h1::facts::judge;
use swell_wire::h1::head::{find_request_line, parse_head};
use swell_wire::h1::line::parse_request_line;
use swell_wire::limits::HeadLimits;

const SMALL: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";
const BROWSER: &[u8] = b"GET /items/42?expand=author HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\nCache-Control: max-age=0\r\n\
Cookie: session=4f2c9a6be1d84a7d8f0b7a; theme=dark; consent=yes\r\nSec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nUpgrade-Insecure-Requests: 1\r\n\r\n";
const ROUNDS: usize = 9;
const HEADS: u32 = 200_000;

fn best(mut work: impl FnMut() -> usize) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..HEADS {
            black_box(work());
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(HEADS));
    }
    best
}

fn main() {
    if cfg!(debug_assertions) {
        println!("build with --release to measure");
        return;
    }
    let limits = HeadLimits::default();
    for (name, input) in [("small, 1 field", SMALL), ("browser, 12 fields", BROWSER)] {
        let mut spans = Vec::with_capacity(64);
        let full = best(|| match parse_head(black_box(input), &limits, &mut spans) {
            Ok(Some(head)) => match judge(&head.line, &head.facts, head.block) {
                Ok(request) => head.len + usize::from(request.keep_alive),
                Err(_) => 0,
            },
            _ => 0,
        });
        let line = best(|| match find_request_line(black_box(input), &limits) {
            Ok(Some(len)) => parse_request_line(&input[..len - 2]).map_or(0, |line| line.method.len()),
            _ => 0,
        });
        println!("{name}: head {full:.0} ns, request line alone {line:.0} ns ({} bytes)", input.len());
    }
}
