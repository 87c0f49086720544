"""The training loops: supervised fine-tuning, reward models, PPO."""
