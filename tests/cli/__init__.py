"""Tests of `swell.cli`."""
