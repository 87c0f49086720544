"""What the training core costs: beside its peers, and as prompts, steps and lengths grow."""
