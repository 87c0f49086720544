"""Names of the adapters that one base model carries, and of a reward model's files."""

SFT = "sft"
REWARD = "reward"
POLICY = "policy"
VALUE = "value"
HELDOUT = "heldout"

# Parts of a reward model's folder.
ADAPTER = "adapter"
CONSTANTS = "reward_model.json"
