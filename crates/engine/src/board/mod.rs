//! The scoreboard: what every worker is doing, in one shared-memory file that any process can read at any time.
//!
//! | file | what |
//! |---|---|
//! | `layout.rs` | where each number is: the header, one slot per worker, words, histograms, texts |
//! | `map.rs` | the file: made, opened, checked, mapped |
//! | `text.rs` | request lines, guarded by a sequence number |
//! | `writer.rs` | what an engine writes into its slot |
//! | `series.rs` | requests by method, status and route, with their durations |
//! | `arrival.rs`, `waiting.rs` | when a request came; the table of suspended ones |
//! | `beat.rs`, `sampler.rs` | the timer that proves the loop free; the thread that sees it busy |
//! | `slow.rs` | turns of the loop that take too long, told while they last |
//! | `peers.rs` | what an engine reads and writes in the slots of others |
//! | `reader.rs` | one slot as a Python dict |
//! | `python.rs` | the class `swell._core.Scoreboard` |
//!
//! Every number is one word that has one writer, stored whole: a writer that dies at any point leaves each as it was
//! or as it was to be. Two numbers read together may belong to two moments, a few microseconds apart. No IPC, no lock
//! and no locked instruction on a request's way. Not known here: who reads it and what is made of it.

mod arrival;
mod beat;
mod layout;
mod map;
mod peers;
mod python;
mod reader;
mod sampler;
mod series;
mod slow;
mod text;
mod waiting;
mod writer;

pub(crate) use self::beat::beat;
pub(crate) use self::python::Scoreboard;
pub(crate) use self::series::{Labels, BOUNDS};
pub(crate) use self::slow::Slow;
pub(crate) use self::waiting::Place;
pub(crate) use self::writer::{Answered, Board, Times};
