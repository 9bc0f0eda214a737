//! Request fields as Python objects: `list[tuple[bytes, bytes]]`, with a memo per connection.
//!
//! Clients repeat themselves: on one connection the field block of a request mostly equals the one before. Then the
//! list is filled from the same tuples, and the facts about framing are reused too. When only some lines differ, the
//! equal ones keep their tuples.

use std::cell::UnsafeCell;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use swell_wire::h1::facts::{FieldFacts, Request};
use swell_wire::h1::head::FieldSpan;
use swell_wire::h1::line::Version;

use super::repeated::Repeated;

/// What a connection remembers of its last request.
pub(crate) struct Memo {
    /// The request line with its CRLF, and what came of it.
    pub(crate) line: Vec<u8>,
    pub(crate) request: Request,
    pub(crate) version: Version,
    pub(crate) parts: LineParts,
    /// The field block with its final CRLF, and what came of it.
    pub(crate) block: Vec<u8>,
    pub(crate) spans: Vec<FieldSpan>,
    pub(crate) facts: FieldFacts,
    pub(crate) fields: Vec<Py<PyTuple>>,
    /// There is a field that a proxy could have set (`Forwarded`, `X-Forwarded-*`).
    pub(crate) forwarded: bool,
    /// This request's head equals the one before.
    pub(crate) repeated: bool,
    pub(crate) scope: Option<Repeated>,
}

/// The request line as the scope's values.
pub(crate) struct LineParts {
    pub(crate) method: Py<PyString>,
    pub(crate) head_only: bool,
    pub(crate) path: Py<PyString>,
    pub(crate) raw_path: Py<PyBytes>,
    pub(crate) query_string: Py<PyBytes>,
}

/// Longer blocks are not remembered: it would cost more memory than it saves time.
pub(crate) const REMEMBER_MAX: usize = 4096;

/// Makes the tuples of a block, taking those of equal lines from `before`.
pub(crate) fn tuples(
    py: Python<'_>,
    block: &[u8],
    spans: &[FieldSpan],
    before: Option<&Memo>,
) -> PyResult<Vec<Py<PyTuple>>> {
    let mut fields = Vec::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        let (name, value) = (span.name(block), span.value(block));
        let known = before.and_then(|memo| {
            let old = memo.spans.get(at)?;
            (old.name(&memo.block) == name && old.value(&memo.block) == value).then(|| &memo.fields[at])
        });
        fields.push(match known {
            Some(tuple) => tuple.clone_ref(py),
            None => PyTuple::new(py, [lower_name(py, name), PyBytes::new(py, value)])?.unbind(),
        });
    }
    Ok(fields)
}

/// True when a proxy's field is among them.
pub(crate) fn has_forwarding(block: &[u8], spans: &[FieldSpan]) -> bool {
    spans.iter().any(|span| {
        let name = span.name(block);
        name.eq_ignore_ascii_case(b"forwarded")
            || name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
    })
}

/// A fresh list of the same tuples.
#[inline]
pub(crate) fn list<'py>(py: Python<'py>, fields: &[Py<PyTuple>]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, fields.iter().map(|tuple| tuple.bind(py)))
}

/// Names that most requests have: made once, shared by all.
const COMMON: [&str; 48] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "proxy-authorization",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

const BUCKETS: usize = 256;

struct Common {
    /// For each bucket the indices into `objects` that fall into it, at most two.
    buckets: [[u8; 2]; BUCKETS],
    objects: Vec<Py<PyBytes>>,
}

struct Guarded(UnsafeCell<Option<Common>>);

// SAFETY: written once at import with the GIL held, afterwards only read, with the GIL held.
unsafe impl Sync for Guarded {}

static COMMON_NAMES: Guarded = Guarded(UnsafeCell::new(None));
const NOBODY: u8 = u8::MAX;

/// Mixes length, first, middle and last byte; letters count in lower case.
fn bucket(name: &[u8]) -> usize {
    let at = |index: usize| usize::from(name.get(index).copied().unwrap_or(0) | 0x20);
    (name.len() * 7 + at(0) * 31 + at(name.len() / 2) * 17 + at(name.len().wrapping_sub(1)) * 5) % BUCKETS
}

/// Makes the shared names; called when the module is imported.
pub(crate) fn prepare(py: Python<'_>) {
    let mut common = Common { buckets: [[NOBODY; 2]; BUCKETS], objects: Vec::new() };
    for (index, name) in COMMON.iter().enumerate() {
        common.objects.push(PyBytes::new(py, name.as_bytes()).unbind());
        let places = &mut common.buckets[bucket(name.as_bytes())];
        // A third name in a bucket is simply not shared.
        if let Some(place) = places.iter_mut().find(|place| **place == NOBODY) {
            *place = index as u8;
        }
    }
    // SAFETY: the GIL is held (`py`) and nobody has read it yet.
    unsafe { *COMMON_NAMES.0.get() = Some(common) };
}

/// The name in lower case, shared when it is a common one.
fn lower_name<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyBytes> {
    // SAFETY: written once at import; the GIL is held (`py`).
    if let Some(common) = unsafe { &*COMMON_NAMES.0.get() } {
        for index in common.buckets[bucket(name)] {
            if index == NOBODY {
                break;
            }
            if COMMON[usize::from(index)].as_bytes().eq_ignore_ascii_case(name) {
                return common.objects[usize::from(index)].bind(py).clone();
            }
        }
    }
    let made = PyBytes::new_with(py, name.len(), |target| {
        target.copy_from_slice(name);
        target.make_ascii_lowercase();
        Ok(())
    });
    // Making `bytes` fails only without memory; then the plain constructor says so.
    made.unwrap_or_else(|_| PyBytes::new(py, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_common_name() {
        let mut counts = [0; BUCKETS];
        for name in COMMON {
            counts[bucket(name.as_bytes())] += 1;
        }
        assert!(counts.iter().all(|count| *count <= 2), "{counts:?}");
    }
}
