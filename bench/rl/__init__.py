"""Pure tensor maths of RLHF: no I/O, no configuration, no logging, no in-place changes.

Shapes, one legend for the whole project:

    B   batch: responses (or preference pairs) handled together
    T   response tokens, padded to the longest response of the batch
    S   prompt + response tokens
    V   vocabulary
    K   responses ranked for one prompt

``mask (B, T)`` is bool and True = counts. What stands at a position that does not count,
NaN and infinity included, reaches neither a result nor a gradient. Float tensors are float32 or
float64; half precision is refused, because sums over tokens and log-probability ratios lose their
meaning in it (`token_logprobs` and `entropy` take half-precision logits and answer in float32).
Log-probabilities, KL and entropy are in nats.

Every function checks the shapes it is given and raises ``ValueError`` with both shapes; nothing
broadcasts silently.
"""
