//! Sizes, floods and memory: RFC 6455 §10.4. The allocator of this test binary counts, so that "costs no memory" is
//! measured and not believed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod ws_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use swell_wire::ws::limits::WS_LIMITS;
use swell_wire::ws::{read_offer, Connection, DeflateOptions, Event, WsLimits};
use ws_support::*;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn count(change: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
    if change > 0 {
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a piece of work did to this thread's memory.
#[derive(Debug)]
struct Memory {
    /// Bytes held at the end, compared with the start.
    kept: isize,
    /// The most bytes held in between.
    peak: isize,
    /// Allocations.
    calls: usize,
}

fn memory(work: impl FnOnce()) -> Memory {
    let held = HELD.get();
    let calls = CALLS.get();
    PEAK.set(held);
    work();
    Memory { kept: HELD.get() - held, peak: PEAK.get() - held, calls: CALLS.get() - calls }
}

/// Takes in a piece and drops its events; the last one is told as a number, 0 for none.
fn drain(connection: &mut Connection, piece: &[u8]) -> u16 {
    let mut consumed = 0;
    let mut last = 0;
    while let Some(event) = connection.receive(piece, &mut consumed) {
        last = match event {
            Event::Failure { code, .. } => code,
            _ => 1,
        };
    }
    last
}

fn limits() -> WsLimits {
    WsLimits { message: 1000, frames_per_message: 10, ..WsLimits::default() }
}

fn small() -> Connection {
    Connection::new(None, limits())
}

fn deflated(options: &DeflateOptions, limits: WsLimits) -> Connection {
    let fields: [(&[u8], &[u8]); 3] = [
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
    ];
    Connection::new(read_offer(fields.into_iter(), options).unwrap().deflate, limits)
}

#[test]
fn rfc6455_10_4_a_message_up_to_the_limit() {
    let most = vec![b'x'; 1000];
    assert_eq!(every_split(small, &frame(FIN | TEXT, &most)), [text(&"x".repeat(1000))]);
    assert_eq!(fails(small, &frame(FIN | TEXT, &[b'x'; 1001]), 0), 1009);
    let parts = [frame(BINARY, &most[..600]), frame(FIN | CONTINUATION, &most[..400])].concat();
    assert_eq!(every_split(small, &parts), [Seen::Binary(most.clone())]);
    let parts = [frame(BINARY, &most[..600]), frame(FIN | CONTINUATION, &most[..401])].concat();
    assert_eq!(fails(small, &parts, 0), 1009);
    // Each message counts on its own.
    let two = [frame(FIN | BINARY, &most), frame(FIN | BINARY, &most)].concat();
    assert_eq!(every_split(small, &two).len(), 2);
}

#[test]
fn rfc6455_10_4_a_claim_fails_at_the_head_and_costs_nothing() {
    for length in [16 * 1024 * 1024 + 1, 1 << 32, 1 << 40, (1 << 63) - 1] {
        for first in [FIN | BINARY, TEXT] {
            let mut connection = plain();
            let bytes = head(first, length);
            let memory = memory(|| assert_eq!(drain(&mut connection, &bytes), 1009));
            assert_eq!((memory.peak, memory.calls), (0, 0), "{length}");
        }
        let mut connection = deflated(&DeflateOptions::default(), WsLimits::default());
        let bytes = head(FIN | RSV1 | BINARY, length.max(1 << 25));
        let memory = memory(|| assert_eq!(drain(&mut connection, &bytes), 1009));
        assert_eq!((memory.peak, memory.calls), (0, 0), "{length}");
    }
}

#[test]
fn rfc6455_10_4_an_allowed_claim_takes_memory_only_as_bytes_come() {
    let mut connection = plain();
    let memory = memory(|| {
        assert_eq!(drain(&mut connection, &head(FIN | BINARY, 16 * 1024 * 1024)), 0);
        assert_eq!(drain(&mut connection, &[0; 3000]), 0);
        assert_eq!(drain(&mut connection, &[0; 3000]), 0);
    });
    assert!(memory.peak <= 9000, "{memory:?}");
}

#[test]
fn rfc6455_10_4_a_fragment_flood_is_bounded() {
    for fragment in [&b""[..], b"x"] {
        let mut bytes = frame(BINARY, fragment);
        for _ in 0..9 {
            bytes.extend(frame(CONTINUATION, fragment));
        }
        assert_eq!(every_split(small, &bytes), []);
        assert_eq!(fails(small, &[bytes.as_slice(), &frame(FIN | CONTINUATION, b"")].concat(), 0), 1009);
        // Control frames in between are not fragments.
        let pinged = [bytes.as_slice(), &frame(FIN | PING, b"")].concat();
        assert_eq!(every_split(small, &pinged), [Seen::Ping(vec![])]);
    }
    // A million empty ones against the default limit.
    let mut connection = plain();
    let flood = frame(CONTINUATION, b"").repeat(1000);
    assert_eq!(drain(&mut connection, &frame(TEXT, b"")), 0);
    let mut rounds = 0;
    let memory = memory(|| {
        while drain(&mut connection, &flood) == 0 {
            rounds += 1;
        }
    });
    assert_eq!((rounds, memory.peak), (131, 0));
}

#[test]
fn rfc6455_10_4_a_fragment_flood_through_the_inflater_is_bounded() {
    let limits = WsLimits { message: 1000, frames_per_message: 1_000_000, ..WsLimits::default() };
    // Empty stored blocks: bytes that inflate to nothing.
    let mut connection = deflated(&DeflateOptions::default(), limits);
    assert_eq!(drain(&mut connection, &frame(RSV1 | BINARY, b"")), 0);
    let flood = frame(CONTINUATION, &[0x00, 0x00, 0x00, 0xff, 0xff]);
    let sent = (0..).find(|_| drain(&mut connection, &flood) == 1009).unwrap();
    assert!((200..220).contains(&sent), "{sent}");
}

#[test]
fn a_ping_flood_keeps_no_memory() {
    let mut connection = plain();
    let flood = frame(FIN | PING, &[7; 125]).repeat(1000);
    let memory = memory(|| assert_eq!(drain(&mut connection, &flood), 1));
    assert_eq!((memory.peak, memory.calls), (0, 0));
}

#[test]
fn small_messages_reuse_one_buffer() {
    let mut connection = plain();
    let bytes = [frame(FIN | TEXT, "größer als zuvor".as_bytes()), frame(FIN | BINARY, &[1; 16])].concat();
    drain(&mut connection, &bytes);
    let memory = memory(|| {
        for _ in 0..1000 {
            assert_eq!(drain(&mut connection, &bytes), 1);
        }
    });
    assert_eq!((memory.peak, memory.calls), (0, 0));
}

#[test]
fn sending_into_a_buffer_with_room_allocates_nothing() {
    let mut connection = plain();
    let mut out = Vec::with_capacity(10_000);
    let memory = memory(|| {
        connection.send_text(&[b'x'; 1000], &mut out);
        connection.send_binary(&[b'x'; 100], &mut out);
        connection.send_ping(b"", &mut out);
        connection.send_pong(b"abc", &mut out);
        connection.send_close(1000, "done", &mut out);
    });
    assert_eq!(memory.calls, 0);
}

#[test]
fn a_big_buffer_is_given_back_after_its_message() {
    let mut connection = plain();
    let big = frame(FIN | BINARY, &vec![1; 1_000_000]);
    let whole = memory(|| assert_eq!(drain(&mut connection, &big), 1));
    assert!((whole.kept, whole.peak) == (0, 1_000_000), "{whole:?}");
    let pieces = memory(|| big.chunks(16_384).for_each(|piece| _ = drain(&mut connection, piece)));
    assert!(pieces.kept == 0 && pieces.peak <= 2_000_000 && pieces.calls < 12, "{pieces:?}");
    // A small one stays for the next message.
    let small = memory(|| assert_eq!(drain(&mut connection, &frame(FIN | BINARY, &[1; 500])), 1));
    assert!((1..=4096).contains(&small.kept), "{small:?}");
    // A failure gives back everything.
    let failed = memory(|| {
        drain(&mut connection, &frame(BINARY, &[1; 100_000]));
        assert_eq!(drain(&mut connection, &frame(FIN | BINARY, b"")), 1002);
    });
    assert!(failed.kept <= 0, "{failed:?}");
}

#[test]
fn cve_2018_1000518_memory_stays_at_the_limit() {
    let mut compressor = miniz_oxide::deflate::core::CompressorOxide::default();
    let mut payload = vec![0; 1_000_000];
    compressor.set_format_and_level(miniz_oxide::DataFormat::Raw, 6);
    let bomb = vec![0; 50_000_000];
    let result =
        miniz_oxide::deflate::stream::deflate(&mut compressor, &bomb, &mut payload, miniz_oxide::MZFlush::Sync);
    assert_eq!(result.bytes_consumed, bomb.len());
    let bytes = frame(FIN | RSV1 | BINARY, &payload[..result.bytes_written]);
    let limits = WsLimits { message: 1_000_000, inflate_ratio: 0, ..WsLimits::default() };
    let mut connection = deflated(&DeflateOptions::default(), limits);
    let memory = memory(|| assert_eq!(drain(&mut connection, &bytes), 1009));
    // The buffer before and after its last growth, and the inflater.
    assert!(memory.peak < 1_700_000 && memory.kept <= 0, "{memory:?}");
}

#[test]
fn compression_state_is_taken_on_first_use_and_kept_only_when_agreed() {
    let hello = frame(FIN | RSV1 | TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    let message = "all work and no play ".repeat(50);
    let alone = DeflateOptions { client_no_context_takeover: true, ..DeflateOptions::default() };
    let kept = DeflateOptions { server_no_context_takeover: false, ..DeflateOptions::default() };
    let mut out = Vec::with_capacity(100_000);
    let mut use_it = |options: &DeflateOptions| {
        let mut connection = None;
        let idle = memory(|| connection = Some(deflated(options, WsLimits::default()))).kept;
        let mut connection = connection.unwrap();
        let received = memory(|| assert_eq!(drain(&mut connection, &hello), 1)).kept;
        let sent = memory(|| connection.send_text(message.as_bytes(), &mut out)).kept;
        (idle, received, sent)
    };
    let (idle, received, sent) = use_it(&kept);
    assert!(idle < 200, "{idle}");
    assert!((46 * 1024..50 * 1024).contains(&received), "inflater: {received}");
    assert!((272 * 1024..275 * 1024).contains(&sent), "compressor: {sent}");
    let (_, _, sent) = use_it(&DeflateOptions { server_max_window_bits: 12, ..kept });
    assert!((160 * 1024..163 * 1024).contains(&sent), "compressor: {sent}");
    // The first connection of a thread leaves the spare state behind.
    use_it(&alone);
    let (idle, received, sent) = use_it(&alone);
    assert!(idle < 200 && received <= 4096 && sent == 0, "{idle} {received} {sent}");
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 320, "{}", size_of::<Connection>());
}

#[test]
fn the_table_of_limits_says_what_the_defaults_are() {
    let value = |name: &str| WS_LIMITS.iter().find(|limit| limit.name == name).unwrap().value;
    let defaults = WsLimits::default();
    assert_eq!(value("message"), defaults.message);
    assert_eq!(value("frames per message"), defaults.frames_per_message);
    assert_eq!(value("inflate ratio"), defaults.inflate_ratio as usize);
    assert_eq!(value("control frame payload"), 125);
}
