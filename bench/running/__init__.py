"""From a configuration to a record: one run, several, or one again."""
