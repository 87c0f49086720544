"""The ways to a model: one protocol, and what implements it."""
