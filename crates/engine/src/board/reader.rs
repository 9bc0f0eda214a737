//! One slot as a Python dict. Reads words and copies them: it neither waits for a writer nor disturbs one.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::layout::{Slot, Word, HISTOGRAMS, NAMED, STATES, WAITING};
use super::{series, text};

/// Everything the slot says. Numbers are of this moment or of one shortly before.
pub(super) fn snapshot<'py>(py: Python<'py>, slot: &Slot) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    for (name, at) in NAMED {
        all.set_item(name, slot.load(at))?;
    }
    let state = STATES.get(slot.get(Word::State) as usize).copied().unwrap_or("unknown");
    all.set_item("state", state)?;
    for (name, histogram) in HISTOGRAMS {
        all.set_item(name, PyList::new(py, slot.buckets(histogram))?)?;
    }
    let current = text::read(slot.current()).map(|found| line(py, found)).transpose()?;
    all.set_item("current", current)?;
    let mut waiting: Vec<_> = (0..WAITING).filter_map(|place| text::read(slot.waiting(place))).collect();
    waiting.sort_by_key(|(_, since)| *since);
    let waiting = waiting.into_iter().map(|found| line(py, found)).collect::<PyResult<Vec<_>>>()?;
    all.set_item("waiting", waiting)?;
    Ok(all)
}

/// The requests that were answered, by what they were.
pub(super) fn requests<'py>(py: Python<'py>, slot: &Slot) -> PyResult<Bound<'py, PyList>> {
    let all = PyList::empty(py);
    for place in 0..series::SERIES {
        if let Some(found) = series::read(slot, place) {
            let what = (found.method, found.scheme, found.version, found.status, found.route);
            all.append((what, PyList::new(py, found.buckets)?, found.sum))?;
        }
    }
    Ok(all)
}

fn line<'py>(py: Python<'py>, (text, since): (String, u64)) -> PyResult<Bound<'py, PyDict>> {
    let line = PyDict::new(py);
    line.set_item("line", text)?;
    line.set_item("since_ns", since)?;
    Ok(line)
}
