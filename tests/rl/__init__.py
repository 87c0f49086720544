"""Tests of `bench.rl` (a package, to share the references between modules)."""
