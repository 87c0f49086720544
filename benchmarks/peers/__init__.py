"""This harness and TRL on the same work, alternating in one run."""
