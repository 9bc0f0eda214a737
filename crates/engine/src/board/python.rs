//! The class `swell._core.Scoreboard`: for the parent, tools and tests. An engine gets one and writes into its slot.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::layout::{Slot, Word, NAMED, NOTED, SLOT_WORDS, STATES, VERSION};
use super::map::{Map, OwnSlot, Trouble};
use super::{reader, Board, Slow};

/// A shared-memory file with one slot per worker, readable from any process at any time.
#[pyclass(frozen, module = "swell._core")]
pub(crate) struct Scoreboard {
    map: Arc<Map>,
}

impl Scoreboard {
    fn slot(&self, index: usize) -> PyResult<&Slot> {
        self.map.slot(index).ok_or_else(|| self.no_slot(index))
    }

    fn no_slot(&self, index: usize) -> PyErr {
        PyIndexError::new_err(format!("the scoreboard has {} slots, there is no slot {index}", self.map.slots()))
    }

    /// What an engine writes with.
    ///
    /// To be called on the event loop's thread. `eager`: the first step is made where a request is started.
    ///
    /// # Errors
    /// When there is no such slot, or no thread for the sampler.
    pub(crate) fn board(&self, index: usize, eager: bool, slow: Option<Slow>) -> PyResult<Board> {
        let slot = OwnSlot::new(&self.map, index).ok_or_else(|| self.no_slot(index))?;
        Ok(Board::new(slot, eager, slow)?)
    }
}

fn raised(trouble: Trouble, path: PathBuf) -> PyErr {
    match trouble {
        Trouble::Unfit(text) => PyValueError::new_err(text),
        // The number gives the error its class (FileExistsError and the like).
        Trouble::Io(error) => match error.raw_os_error() {
            Some(number) => {
                let text = error.to_string();
                let text = text.split(" (os error").next().unwrap_or_default().to_owned();
                pyo3::exceptions::PyOSError::new_err((number, text, path.into_os_string()))
            }
            None => error.into(),
        },
    }
}

#[pymethods]
impl Scoreboard {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        let map = Map::open(&path).map_err(|trouble| raised(trouble, path))?;
        Ok(Self { map })
    }

    #[staticmethod]
    fn create(path: PathBuf, slots: usize) -> PyResult<Self> {
        let map = Map::create(&path, slots).map_err(|trouble| raised(trouble, path))?;
        Ok(Self { map })
    }

    #[getter]
    fn path(&self) -> std::ffi::OsString {
        self.map.path().as_os_str().to_owned()
    }

    #[getter]
    fn slots(&self) -> usize {
        self.map.slots()
    }

    #[getter]
    fn version(&self) -> u64 {
        VERSION
    }

    fn read<'py>(&self, py: Python<'py>, slot: usize) -> PyResult<Bound<'py, PyDict>> {
        reader::snapshot(py, self.slot(slot)?)
    }

    fn requests<'py>(&self, py: Python<'py>, slot: usize) -> PyResult<Bound<'py, PyList>> {
        reader::requests(py, self.slot(slot)?)
    }

    fn reset(&self, slot: usize, worker: u64, generation: u64) -> PyResult<()> {
        let slot = self.slot(slot)?;
        for at in 0..SLOT_WORDS {
            slot.store(at, 0);
        }
        slot.set(Word::Worker, worker);
        slot.set(Word::Generation, generation);
        Ok(())
    }

    fn set_state(&self, slot: usize, state: &str) -> PyResult<()> {
        let Some(index) = STATES.iter().position(|known| *known == state) else {
            return Err(PyValueError::new_err(format!("no state {state:?}; there are {}", STATES.join(", "))));
        };
        self.slot(slot)?.set(Word::State, index as u64);
        Ok(())
    }

    #[pyo3(signature = (slot, **values))]
    fn note(&self, slot: usize, values: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let slot = self.slot(slot)?;
        for (name, value) in values.into_iter().flatten() {
            let name: String = name.extract()?;
            let Some((_, at)) = NAMED.iter().find(|(known, at)| *known == name && NOTED.contains(at)) else {
                let known: Vec<_> = NAMED.iter().filter(|(_, at)| NOTED.contains(at)).map(|(name, _)| *name).collect();
                return Err(PyTypeError::new_err(format!("note() takes {}, not {name}", known.join(", "))));
            };
            slot.store(*at, value.extract()?);
        }
        Ok(())
    }
}
