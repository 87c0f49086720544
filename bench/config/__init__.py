"""A run's configuration: its sections, and how they are read from presets and overrides."""
