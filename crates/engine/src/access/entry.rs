//! Access log entries for Python's logging, when the user has configured that: owned values, handed over in batches.
//!
//! An entry becomes `(client, method, path, http_version, status, details)`: the first five are what formatters for
//! uvicorn's access log expect, `details` is a dict of everything else.

use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::line::trace_id;
use super::{Asked, End, Over, Record, Sink};
use crate::core::Core;

#[derive(Default)]
pub(crate) struct Entry {
    client: String,
    method: String,
    path: String,
    version: String,
    agent: String,
    traceparent: String,
    trace: String,
    id: String,
    status: u16,
    duration: u64,
    first_byte: Option<u64>,
    dispatch: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    end: Option<End>,
    refused: String,
    section: String,
}

/// What logging handlers get passes no escape of ours: what could end a line is replaced here.
fn shown(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    super::escape::escape(&mut out, bytes, super::escape::Style::Text);
    String::from_utf8(out).unwrap_or_default()
}

impl Entry {
    pub(crate) fn new(asked: &Asked<'_>) -> Self {
        let (method, path, version) = asked.split().unwrap_or((b"", asked.line, b""));
        let trace = trace_id(asked.traceparent);
        Self {
            client: asked.forwarded.map_or_else(|| asked.peer.to_string(), ToOwned::to_owned),
            method: shown(method),
            path: shown(path),
            version: shown(version),
            agent: shown(asked.agent),
            traceparent: trace.map_or_else(String::new, |_| shown(asked.traceparent)),
            trace: trace.map_or_else(String::new, shown),
            ..Self::default()
        }
    }

    pub(crate) fn identify(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    pub(crate) fn finish(&mut self, record: &Record, over: &Over<'_>) {
        self.status = over.status;
        self.duration = record.elapsed(over.now);
        self.first_byte = (record.first_byte > 0).then(|| record.elapsed(record.first_byte));
        self.dispatch = (record.first_step > 0).then(|| record.elapsed(record.first_step));
        self.bytes_in = over.bytes_in;
        self.bytes_out = over.bytes_out;
        self.end = Some(over.end);
        if let Some(refusal) = &over.refusal {
            self.refused = shown(refusal.reason.as_bytes());
            refusal.section.clone_into(&mut self.section);
        }
    }

    fn details<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let details = PyDict::new(py);
        let milliseconds = |nanoseconds: u64| (nanoseconds / 1000) as f64 / 1000.0;
        details.set_item("duration_ms", milliseconds(self.duration))?;
        for (name, time) in [("first_byte_ms", self.first_byte), ("dispatch_ms", self.dispatch)] {
            if let Some(time) = time {
                details.set_item(name, milliseconds(time))?;
            }
        }
        details.set_item("bytes_in", self.bytes_in)?;
        details.set_item("bytes_out", self.bytes_out)?;
        for (name, text) in [
            ("user_agent", &self.agent),
            ("request_id", &self.id),
            ("trace_id", &self.trace),
            ("traceparent", &self.traceparent),
            ("refused", &self.refused),
            ("rfc", &self.section),
        ] {
            if !text.is_empty() {
                details.set_item(name, text)?;
            }
        }
        match self.end {
            Some(End::Disconnected) => details.set_item("disconnected", true)?,
            Some(End::Aborted) => details.set_item("aborted", true)?,
            Some(End::WebSocket(code)) => details.set_item("close_code", code)?,
            Some(End::Complete) | None => {}
        }
        Ok(details)
    }
}

/// Calls Python with the entries that wait. No borrow of the state is alive.
pub(crate) fn deliver(py: Python<'_>, core: &Rc<Core>) {
    let taken = core.with(|inner| match &mut inner.access.as_mut()?.sink {
        Sink::Python { callable, entries } if !entries.is_empty() => {
            Some((callable.clone_ref(py), std::mem::take(entries)))
        }
        _ => None,
    });
    let Some((callable, entries)) = taken else { return };
    let call = || -> PyResult<()> {
        let list = PyList::empty(py);
        for entry in &entries {
            list.append((&entry.client, &entry.method, &entry.path, &entry.version, entry.status, entry.details(py)?))?;
        }
        callable.bind(py).call1((list,))?;
        Ok(())
    };
    if let Err(error) = call() {
        error.write_unraisable(py, Some(callable.bind(py)));
    }
}
