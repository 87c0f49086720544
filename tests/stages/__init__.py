"""Tests of `bench.stages`."""
