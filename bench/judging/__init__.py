"""What judges share, and what a judgement comes to."""
