//! Requests by what they were (method, scheme, version, status, route), with the histogram of their durations: what
//! OpenTelemetry's stable conventions call `http.server.request.duration`.
//!
//! A series is an entry of a small table in the slot. It is opened by the first request with its labels, which
//! never change. The table is bounded: routes beyond [`ROUTES`] share one label, requests beyond the table share its last
//! entry. What is nobody's route (a path that was not found) has none, so that a scan of random paths opens nothing.

use std::collections::HashMap;
use std::sync::atomic::{fence, Ordering};

use swell_wire::h1::line::Version;

use super::layout::{Histogram, Slot, SERIES_AT, SLOT_WORDS};
use super::{Answered, Board};

/// Entries of the table. An application of 50 routes that each answer two statuses is told apart whole.
pub(super) const SERIES: usize = 128;
/// Words of an entry: labels, length of the route, its text, the buckets, the sum, one to spare.
pub(super) const SERIES_WORDS: usize = 40;
/// Routes that are told apart.
const ROUTES: usize = 64;

const LABELS: usize = 0;
const LENGTH: usize = 1;
const TEXT: usize = 2;
/// A route is cut behind so many bytes.
const TEXT_WORDS: usize = 21;
const BUCKETS: usize = TEXT + TEXT_WORDS;
const SUM: usize = BUCKETS + BOUNDS.len() + 1;
const _: () = assert!(SUM < SERIES_WORDS);

/// Upper bounds of the buckets, in seconds: those that OpenTelemetry advises. One more has none.
pub(crate) const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const BOUNDS_NS: [u64; BOUNDS.len()] = {
    let mut bounds = [0; BOUNDS.len()];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = (BOUNDS[at] * 1e9) as u64;
        at += 1;
    }
    bounds
};

/// The methods that OpenTelemetry tells apart; the first stands for all others.
const METHODS: [&str; 11] =
    ["_OTHER", "GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"];
const VERSIONS: [&str; 5] = ["", "1.1", "1.0", "2", "3"];
/// The label of what has a label of its own no more.
const OTHER: &str = "_OTHER";
/// Marks an entry in use: its labels are never 0.
const USED: u64 = 1 << 63;

/// The place of a request line's method in [`METHODS`].
#[inline]
fn method(line: &[u8]) -> u8 {
    match line {
        [b'G', b'E', b'T', b' ', ..] => 1,
        [b'P', b'O', b'S', b'T', b' ', ..] => 2,
        _ => {
            let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            METHODS.iter().skip(1).position(|known| known.as_bytes() == &line[..end]).map_or(0, |at| at as u8 + 1)
        }
    }
}

/// What tells series apart, as it becomes known: a request's method, version and scheme, then status, then route.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Labels(u64);

impl Labels {
    /// Of a request with this line.
    #[inline]
    pub(crate) fn of(line: &[u8], version: Version, https: bool) -> Self {
        let version = match version {
            Version::Http11 => 1,
            Version::Http10 => 2,
            Version::Http2 => 3,
        };
        Self(USED | u64::from(method(line)) | version << 8 | u64::from(https) << 16)
    }

    #[inline]
    pub(super) fn with_status(self, status: u16) -> Self {
        Self(self.0 | u64::from(status) << 32)
    }

    #[inline]
    fn with_route(self, route: u8) -> Self {
        Self(self.0 | u64::from(route) << 24)
    }

    /// That of requests for which there is no series any more: of their version and scheme.
    fn others(self) -> Self {
        Self(self.0 & (USED | 0x1_ff00)).with_route(ROUTES as u8 + 1)
    }

    fn method(self) -> &'static str {
        METHODS.get(usize::from(self.0 as u8)).copied().unwrap_or(METHODS[0])
    }

    fn version(self) -> &'static str {
        VERSIONS.get(usize::from((self.0 >> 8) as u8)).copied().unwrap_or(VERSIONS[0])
    }

    fn scheme(self) -> &'static str {
        if self.0 >> 16 & 1 == 1 {
            "https"
        } else {
            "http"
        }
    }

    fn status(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// Which entries an engine has opened.
#[derive(Default)]
pub(super) struct Series {
    /// By place.
    opened: Vec<Labels>,
    /// The entry of the request before: mostly it is this one's, too.
    last: usize,
    /// Numbers of the routes, from 1.
    routes: HashMap<Box<str>, u8>,
}

impl Series {
    /// 0 is no route, and beyond the others there is one for all that do not fit.
    fn route(&mut self, route: &str) -> u8 {
        if route.is_empty() {
            return 0;
        }
        if let Some(number) = self.routes.get(route) {
            return *number;
        }
        let number = self.routes.len() + 1;
        if number > ROUTES {
            return ROUTES as u8 + 1;
        }
        self.routes.insert(route.into(), number as u8);
        number as u8
    }

    fn find(&mut self, labels: Labels) -> Option<usize> {
        if self.opened.get(self.last) != Some(&labels) {
            self.last = self.opened.iter().position(|known| *known == labels)?;
        }
        Some(self.last)
    }

    /// The entry of a request, which may have to be opened.
    fn place(&mut self, slot: &Slot, labels: Labels, route: &str) -> usize {
        let number = self.route(route);
        let labels = labels.with_route(number);
        if let Some(place) = self.find(labels) {
            return place;
        }
        let text = if usize::from(number) > ROUTES { OTHER } else { route };
        match self.opened.len() {
            place if place < SERIES - 1 => self.open(slot, labels, text),
            place if place < SERIES => self.open(slot, labels.others(), OTHER),
            _ => SERIES - 1,
        }
    }

    #[cold]
    fn open(&mut self, slot: &Slot, labels: Labels, route: &str) -> usize {
        let place = self.opened.len();
        let at = start(place);
        let mut end = route.len().min(TEXT_WORDS * 8);
        while !route.is_char_boundary(end) {
            end -= 1;
        }
        slot.store(at + LENGTH, end as u64);
        for (word, bytes) in route.as_bytes()[..end].chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            slot.store(at + TEXT + word, u64::from_le_bytes(padded));
        }
        // A reader that sees the labels sees all of it.
        fence(Ordering::Release);
        slot.store(at + LABELS, labels.0);
        self.opened.push(labels);
        place
    }
}

impl Board {
    /// Counts a request that was answered, at `now` (precise nanoseconds). `route` is the template of its path, empty
    /// where it is not known.
    #[inline]
    pub(crate) fn count_request(&mut self, answered: Answered, now: u64, route: &str) {
        let duration = now.saturating_sub(answered.started);
        self.slot.count(Histogram::Latency, duration);
        let at = start(self.series.place(&self.slot, answered.labels, route));
        let bucket = BOUNDS_NS.iter().position(|bound| duration <= *bound).unwrap_or(BOUNDS.len());
        self.slot.add(at + BUCKETS + bucket, 1);
        self.slot.add(at + SUM, duration);
    }
}

const fn start(place: usize) -> usize {
    let at = SERIES_AT + place * SERIES_WORDS;
    assert!(at + SERIES_WORDS <= SLOT_WORDS);
    at
}

/// One entry, as others read it.
pub(super) struct Found {
    pub(super) method: &'static str,
    pub(super) scheme: &'static str,
    pub(super) version: &'static str,
    /// 0: of several statuses.
    pub(super) status: u16,
    pub(super) route: String,
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    /// Nanoseconds.
    pub(super) sum: u64,
}

/// The entry at `place`, if it is in use.
pub(super) fn read(slot: &Slot, place: usize) -> Option<Found> {
    let at = start(place);
    let labels = Labels(slot.load(at + LABELS));
    if labels.0 & USED == 0 {
        return None;
    }
    fence(Ordering::Acquire);
    let length = (slot.load(at + LENGTH) as usize).min(TEXT_WORDS * 8);
    let words = at + TEXT..at + TEXT + length.div_ceil(8);
    let mut text: Vec<u8> = words.flat_map(|word| slot.load(word).to_le_bytes()).collect();
    text.truncate(length);
    Some(Found {
        method: labels.method(),
        scheme: labels.scheme(),
        version: labels.version(),
        status: labels.status(),
        route: String::from_utf8_lossy(&text).into_owned(),
        buckets: std::array::from_fn(|bucket| slot.load(at + BUCKETS + bucket)),
        sum: slot.load(at + SUM),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn slot() -> Box<Slot> {
        Box::new(Slot([const { AtomicU64::new(0) }; SLOT_WORDS]))
    }

    fn get(status: u16) -> Labels {
        Labels::of(b"GET / HTTP/1.1", Version::Http11, false).with_status(status)
    }

    #[test]
    fn methods_are_known_or_others() {
        for (line, expected) in [
            (&b"GET / HTTP/1.1"[..], "GET"),
            (b"POST /a HTTP/1.1", "POST"),
            (b"DELETE /a HTTP/1.1", "DELETE"),
            (b"GETS /a HTTP/1.1", "_OTHER"),
            (b"_OTHER /a HTTP/1.1", "_OTHER"),
            (b"", "_OTHER"),
        ] {
            assert_eq!(METHODS[usize::from(method(line))], expected);
        }
    }

    #[test]
    fn what_is_opened_is_read() {
        let (slot, mut series) = (slot(), Series::default());
        let long = "/ä".repeat(100);
        for route in ["", "/items/{id}", &long] {
            series.place(&slot, Labels::of(b"GET / HTTP/2", Version::Http2, true).with_status(404), route);
        }
        let found = read(&slot, 1).unwrap();
        assert_eq!((found.method, found.scheme, found.version, found.status), ("GET", "https", "2", 404));
        assert_eq!(found.route, "/items/{id}");
        let cut = read(&slot, 2).unwrap().route;
        assert!(cut.len() > 160 && long.starts_with(&cut));
        assert!(read(&slot, 3).is_none());
    }

    #[test]
    fn routes_and_series_are_bounded() {
        let (slot, mut series) = (slot(), Series::default());
        let mut places = Vec::new();
        for status in [200, 404, 500] {
            for number in 0..2 * ROUTES {
                places.push(series.place(&slot, get(status), &format!("/{number}")));
            }
        }
        let routes = (0..SERIES).filter_map(|place| read(&slot, place)).map(|found| found.route);
        assert_eq!(routes.collect::<std::collections::HashSet<_>>().len(), ROUTES + 1);
        assert_eq!(read(&slot, places[ROUTES]).unwrap().route, OTHER);
        let last = read(&slot, SERIES - 1).unwrap();
        assert_eq!((last.method, last.version, last.status, last.route.as_str()), (OTHER, "1.1", 0, OTHER));
        assert_eq!(*places.last().unwrap(), SERIES - 1);
        // Those that were there first are still told apart.
        let again = series.place(&slot, get(200), "/0");
        assert_eq!(again, places[0]);
    }
}
