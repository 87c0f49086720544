"""Names of the adapters that one base model carries, and of a reward model's files."""

SFT = "sft"
REWARD = "reward"
POLICY = "policy"
VALUE = "value"
HELDOUT = "heldout"

# Parts of the folders of a reward model and of a value function.
ADAPTER = "adapter"
CONSTANTS = "reward_model.json"
VALUE_CONSTANTS = "value.json"
