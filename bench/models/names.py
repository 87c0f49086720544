"""Names of the adapters that one base model carries."""

SFT = "sft"
REWARD = "reward"
POLICY = "policy"
VALUE = "value"
HELDOUT = "heldout"
