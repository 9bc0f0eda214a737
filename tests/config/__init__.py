"""Tests of `swell.config`."""
