"""The record of a run: its schema, its files, older schemas, and where numbers come from."""
