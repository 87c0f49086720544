"""What one GPU does with this harness: a module a question, `python -m benchmarks.gpu` for all."""
