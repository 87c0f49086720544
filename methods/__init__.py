"""One method a file; `bench.plugins.registry` finds them by name."""
