"""One frozen base with named LoRA adapters, the heads on it, and sampling from it."""
