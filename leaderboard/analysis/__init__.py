"""What the records say: rows, ranks, differences, power. Computes, never shows."""
