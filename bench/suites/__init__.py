"""Suites: where prompts, demonstrations and judgements come from."""
