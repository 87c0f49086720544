"""Token sources: what turns a signal into what each token is paid, (B, T).

paying.py    from a source to the rewards that a trainer reads, checked on the way
making.py    from what a plan says to the source itself
checks.py    what the tests of a source call, a third party's too
scores.py    one score a response: reward model (which may share it out), classifier, gold
gold.py      the truth's own terms, each at the token that completes it
prefixes.py  differences of a sequence model's score from one prefix to the next (RED)
attention.py a sequence model's score, shared out by where it looked (ABC)
tokens.py    a token model's outputs undivided: as values (Q-RM), as classes (TLCR)
segments.py  a segment model's classes, at the ends of segments (fine-grained RLHF)
places.py    a segment model's outputs, normalised by the segment's place (DenseReward)
ratios.py    how much likelier than the reference a trained policy finds a token (RTO)
sums.py      several sources, weighted
"""
