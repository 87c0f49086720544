"""Whether a run still gives what it gave: baselines, bands, repetitions."""
