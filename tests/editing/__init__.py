"""Tests of `bench.editing`."""
