"""One method a file; `bench.registry` finds them by name."""
