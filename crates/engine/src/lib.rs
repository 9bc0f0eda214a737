//! swell._core
