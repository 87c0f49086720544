"""One judge a file; `bench.registry` finds them by name."""
