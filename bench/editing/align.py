"""Which tokens an edit changed."""

from collections.abc import Sequence

from rapidfuzz.distance import Indel


def align_edit(
    original_ids: Sequence[int], edited_ids: Sequence[int]
) -> tuple[list[bool], list[bool]]:
    """Mark the changed tokens (U1) on both sides of an edit.

    Tokens on a longest common subsequence (LCS) of the two are unchanged, all others are changed:
    ``len(original) - LCS`` of the original's and ``len(edited) - LCS`` of the edited ones. An
    insertion marks tokens of the edited side only, a deletion of the original only.

    Where several alignments are longest, the one that keeps each token at its own index is taken
    if it is among them (so a substitution, at equal lengths, marks just the indices that differ);
    else whichever rapidfuzz finds, always the same for the same input.

    Args:
        original_ids: token ids of the original response.
        edited_ids: token ids of the edited response.

    Returns:
        (original_changed, edited_changed), as long as the inputs; True = changed.

    References:
        arXiv:2406.02756, Section 2, Eq. 4.

    Differences from the paper:
        The paper compares index by index, which an insertion or deletion makes meaningless: all
        that follows it would count as changed.
    """
    # rapidfuzz compares hashes, and a tensor's element hashes by identity: only int is safe
    original = [int(token) for token in original_ids]
    edited = [int(token) for token in edited_ids]
    original_changed, edited_changed = [True] * len(original), [True] * len(edited)
    for block in Indel.opcodes(original, edited):
        if block.tag == "equal":
            length = block.src_end - block.src_start
            original_changed[block.src_start : block.src_end] = [False] * length
            edited_changed[block.dest_start : block.dest_end] = [False] * length
    if len(original) == len(edited):
        differs = [a != b for a, b in zip(original, edited, strict=True)]
        if sum(differs) == sum(original_changed):
            return differs, list(differs)
    return original_changed, edited_changed
