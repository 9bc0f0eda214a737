//! What a WebSocket message costs in this crate, receiving and sending, without sockets and Python. Run with
//! `cargo run --release --example ws_cost`; a debug build is refused.
//!
//! Each line is the best of seven rounds, in nanoseconds per message.

use std::hint::black_box;
use std::time::Instant;

use swell_wire::ws::{read_offer, Connection, DeflateOptions, DeflateParams, WsLimits};

const ROUNDS: u32 = 7;

fn best(messages: u32, mut round: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round();
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(messages));
    }
    best
}

fn params(options: &DeflateOptions) -> Option<DeflateParams> {
    let fields: [(&[u8], &[u8]); 3] = [
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
    ];
    read_offer(fields.into_iter(), options).ok()?.deflate
}

/// A frame as the server sends it, turned into one from a client: masked.
fn masked(sent: &[u8]) -> Vec<u8> {
    let head = match sent[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = sent[..head].to_vec();
    out[1] |= 0x80;
    out.extend(key);
    out.extend(sent[head..].iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
    out
}

/// JSON of about `size` bytes.
fn json(size: usize) -> Vec<u8> {
    let mut out = String::from("[");
    let mut state = 1_u32;
    while out.len() < size {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let (id, price) = (state >> 12 & 0xFFF, state >> 8 & 0xFFFF);
        out.push_str(&format!(r#"{{"id":{id},"symbol":"SW{}","price":{price}.5,"side":"buy"}},"#, id % 50));
    }
    out.truncate(size);
    out.into_bytes()
}

fn measure(name: &str, size: usize, deflate: Option<DeflateParams>) {
    let data = json(size);
    let messages = (8_000_000 / (size + 200)).clamp(20, 50_000) as u32;
    let mut out = Vec::with_capacity(size * 2 + 100);
    let mut connection = Connection::new(deflate, WsLimits::default());
    let mut sent = 0;
    let sending = best(messages, || {
        for _ in 0..messages {
            out.clear();
            connection.send_text(black_box(&data), &mut out);
            sent = black_box(out.len());
        }
    });
    // The first message of a connection refers to nothing before it, so it can be received again and again.
    out.clear();
    Connection::new(deflate, WsLimits::default()).send_text(&data, &mut out);
    let frame = masked(&out);
    let mut connection = Connection::new(deflate, WsLimits::default());
    let receiving = best(messages, || {
        for _ in 0..messages {
            let mut consumed = 0;
            while let Some(event) = connection.receive(black_box(&frame), &mut consumed) {
                black_box(&event);
            }
        }
    });
    println!("{name:<34} {size:>8} B -> {sent:>8} B   receive {receiving:>11.1} ns   send {sending:>11.1} ns");
}

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: run it with --release");
        std::process::exit(1);
    }
    for size in [13, 64, 1024, 65_536, 1_048_576] {
        measure("plain", size, None);
    }
    for level in [1, 2, 3, 6] {
        for size in [128, 256, 1024, 65_536] {
            let alone = DeflateOptions { level, threshold: 0, ..DeflateOptions::default() };
            measure(&format!("deflate level {level}, no takeover"), size, params(&alone));
            let kept = DeflateOptions { server_no_context_takeover: false, ..alone };
            measure(&format!("deflate level {level}, takeover"), size, params(&kept));
        }
    }
}
