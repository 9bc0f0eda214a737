//! Requests by what they were (method, scheme, version, status, route), with the histogram of their durations: what
//! OpenTelemetry's stable conventions call `http.server.request.duration`.
//!
//! A series is an entry of a small table in the slot. It is opened by the first request of its kind and never changes
//! its kind. The table is bounded: routes beyond [`ROUTES`] share one label, requests beyond the table share its last
//! entry. What is nobody's route (a path that was not found) has none, so that a scan of random paths opens nothing.

use std::collections::HashMap;
use std::sync::atomic::{fence, Ordering};

use super::layout::{Slot, SERIES_AT, SLOT_WORDS};
use super::{Answered, Board};

/// Entries of the table. An application of 50 routes that each answer two statuses is told apart whole.
pub(super) const SERIES: usize = 128;
/// Words of an entry: kind, length of the route, its text, the buckets, the sum, one to spare.
pub(super) const SERIES_WORDS: usize = 40;
/// Routes that are told apart.
const ROUTES: usize = 64;

const KIND: usize = 0;
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
/// Marks an entry in use: a kind is never 0.
const USED: u64 = 1 << 63;

/// The place of a request line's method in [`METHODS`].
#[inline]
pub(super) fn method(line: &[u8]) -> u8 {
    match line {
        [b'G', b'E', b'T', b' ', ..] => 1,
        [b'P', b'O', b'S', b'T', b' ', ..] => 2,
        _ => {
            let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            METHODS.iter().skip(1).position(|known| known.as_bytes() == &line[..end]).map_or(0, |at| at as u8 + 1)
        }
    }
}

/// What the scope says of a request.
#[derive(Clone, Copy, Default)]
pub(crate) struct Label<'a> {
    pub(crate) https: bool,
    pub(crate) version: &'a str,
    /// The path's template. Empty: it is not known.
    pub(crate) route: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind(u64);

impl Kind {
    fn new(method: u8, https: bool, version: u8, status: u16, route: u8) -> Self {
        let low = u64::from(method) | u64::from(version) << 8 | u64::from(https) << 16;
        Self(USED | low | u64::from(route) << 24 | u64::from(status) << 32)
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
    kinds: Vec<Kind>,
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

    fn find(&mut self, kind: Kind) -> Option<usize> {
        if self.kinds.get(self.last) != Some(&kind) {
            self.last = self.kinds.iter().position(|known| *known == kind)?;
        }
        Some(self.last)
    }

    /// The entry of a request, which may have to be opened.
    fn place(&mut self, slot: &Slot, answered: Answered, label: Label<'_>) -> usize {
        let version = VERSIONS.iter().position(|known| *known == label.version).unwrap_or(0) as u8;
        let route = self.route(label.route);
        let text = if usize::from(route) > ROUTES { OTHER } else { label.route };
        let Answered { method, status, .. } = answered;
        let kind = Kind::new(method, label.https, version, status, route);
        let others = Kind::new(0, label.https, version, 0, ROUTES as u8 + 1);
        if let Some(place) = self.find(kind) {
            return place;
        }
        match self.kinds.len() {
            place if place < SERIES - 1 => self.open(slot, kind, text),
            place if place < SERIES => self.open(slot, others, OTHER),
            _ => SERIES - 1,
        }
    }

    #[cold]
    fn open(&mut self, slot: &Slot, kind: Kind, route: &str) -> usize {
        let place = self.kinds.len();
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
        // A reader that sees the kind sees all of it.
        fence(Ordering::Release);
        slot.store(at + KIND, kind.0);
        self.kinds.push(kind);
        place
    }
}

impl Board {
    /// Counts a request that was answered.
    #[inline]
    pub(crate) fn count_request(&mut self, answered: Answered, label: Label<'_>) {
        let at = start(self.series.place(&self.slot, answered, label));
        let bucket = BOUNDS_NS.iter().filter(|bound| answered.duration > **bound).count();
        self.slot.add(at + BUCKETS + bucket, 1);
        self.slot.add(at + SUM, answered.duration);
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
    let kind = Kind(slot.load(at + KIND));
    if kind.0 & USED == 0 {
        return None;
    }
    fence(Ordering::Acquire);
    let length = (slot.load(at + LENGTH) as usize).min(TEXT_WORDS * 8);
    let words = at + TEXT..at + TEXT + length.div_ceil(8);
    let mut text: Vec<u8> = words.flat_map(|word| slot.load(word).to_le_bytes()).collect();
    text.truncate(length);
    Some(Found {
        method: kind.method(),
        scheme: kind.scheme(),
        version: kind.version(),
        status: kind.status(),
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

    fn answered(status: u16) -> Answered {
        Answered { duration: 1, status, method: 1 }
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
            series.place(&slot, answered(404), Label { https: true, version: "2", route });
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
                let route = format!("/{number}");
                places.push(series.place(
                    &slot,
                    answered(status),
                    Label { https: false, version: "1.1", route: &route },
                ));
            }
        }
        let routes = (0..SERIES).filter_map(|place| read(&slot, place)).map(|found| found.route);
        assert_eq!(routes.collect::<std::collections::HashSet<_>>().len(), ROUTES + 1);
        assert_eq!(read(&slot, places[ROUTES]).unwrap().route, OTHER);
        let last = read(&slot, SERIES - 1).unwrap();
        assert_eq!((last.method, last.status, last.route.as_str()), (OTHER, 0, OTHER));
        assert_eq!(*places.last().unwrap(), SERIES - 1);
        // Those that were there first are still told apart.
        let again = series.place(&slot, answered(200), Label { https: false, version: "1.1", route: "/0" });
        assert_eq!(again, places[0]);
    }
}
