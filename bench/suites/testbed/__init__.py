"""The embedded testbed: a small world whose truth is known, after Gao et al. (arXiv:2210.10760)."""
