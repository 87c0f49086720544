"""What people call a metric, a column or a method, and what it means, in a sentence."""

import re
from typing import NamedTuple

from bench.plugins.registry import METHODS
from leaderboard.analysis.rows import Row
from leaderboard.views.columns import ACCURACY, DETECTION, LONGER, PROBE, kind


class Term(NamedTuple):
    """A plain name, and its meaning; "" where it is not known here."""

    name: str
    meaning: str = ""


METRICS = {
    "win_rate": Term(
        "Win rate",
        "How often the judge prefers the method's answer to the reference's; a tie counts one "
        "half. At 50 % the two are level.",
    ),
    "gold_score": Term("Gold score", "The suite's own score of an answer, which knows the truth."),
    "kl": Term(
        "KL",
        "How far the trained policy has moved from the SFT policy that it began as, in nats a "
        "response.",
    ),
    "kl_bound": Term(
        "KL at most",
        "What the KL of the best of n answers to the SFT policy is at most, log n - (n - 1) / n "
        "nats a response; it is not measured.",
    ),
    "length": Term("Length", "Tokens of an answer."),
    "reward_mass": Term(
        "Reward mass", "How much is paid for a response in PPO at all, without its sign."
    ),
    "repeat_share": Term(
        "Repeated 4-grams", "Share of four tokens in a row that stood in the answer before."
    ),
    "rm_localisation": Term(
        "Localisation",
        "Whether the reward model gives wrong tokens less than right ones: 1 always, .5 by chance.",
    ),
    "proxy_score": Term("Proxy score", "The reward model's own score of the judged answers."),
    "proxy_gold_correlation": Term(
        "Proxy against gold", "Correlation of the reward model's score with the gold score."
    ),
    "edit_changed_share": Term(
        "Changed by edits", "Share of words and marks that a minimal edit changes, mean."
    ),
    "edit_changed_median_share": Term(
        "Changed by edits, median", "Share of words and marks that a minimal edit changes, median."
    ),
}
_PAIRS = {
    "original": Term("original pairs", "original preference pairs"),
    "original_clean": Term(
        "original pairs, clean labels", "original pairs without the annotator's errors"
    ),
    "edited": Term("edits", "pairs of an answer and its minimal edit"),
}
_ENDS = {
    "_greedy": (", greedy", "Of greedy answers: the likeliest token each time."),
    "_matched": (
        ", at matched KL",
        "Of the checkpoint where training first reached evaluation.matched_kl, or else its last.",
    ),
    "_unseen": (", unseen", "On entities that no training prompt speaks of."),
}
COMMON = (
    "The score that every seed of half of the rows reaches, at a validation averaged with its "
    "neighbours. Steps and time: of this stage alone, mean over seeds; a dash where not all arrive."
)
COLUMNS = {
    "Group": "Methods in different groups differ significantly from some neighbour (paired, Holm "
    "over all pairs, 5 %). Within a group the order means nothing.",
    "Win %": METRICS["win_rate"].meaning + " ± is one standard error.",
    "95 % interval": "Where the method's true win rate lies, with 95 % confidence; the mark shows "
    "it on one scale for all rows, a thin line the 50 % of the reference.",
    "Seeds": "Training runs with different random numbers × the instructions that were judged in "
    "every one of them.",
    "Total time": "Of all stages, each at its full cost, also where it was found in the store.",
    "90 % steps": "PPO steps to 90 % of the way to the run's best validation score.",
    "90 % time": "Time to 90 % of the way to the run's best validation score.",
    "Peak GiB": "Most memory of any stage and seed.",
    "Judge USD": "What the judge's answers cost, all seeds.",
    "Editor USD": "What the editor's answers cost, all seeds.",
    "Paid by": "How finely a response is paid in training, by how many rewards it has (payments "
    "of the curve): by the response (one), by the token (half of its tokens or more), else by "
    "the segment. Older records do not say.",
    "Chosen KL": "KL of the policy that was kept, on the test prompts, in nats a response.",
    "Reaches KL": "The KL that each of the row's seeds reaches in training.",
    "Worst spike": "The most by which one step's KL lies above the median of the five steps before "
    "it, of any seed, in nats.",
    "Length a nat": "Tokens by which answers grow with each nat of KL, up to the KL at which rows "
    "are compared: least squares, mean over seeds.",
    "Diverged": "Seeds whose training ended in NaN or beyond its bounds, of those that ended.",
    "Collapsed": "Seeds whose last validation has answers less than half or more than twice as "
    "long as SFT's, or more than half of their 4-grams repeated, of those that ended well.",
    "Training pairs": "Fewest and most pairs that a seed's reward model learned from.",
}

STAGES = {
    "sft": "Supervised fine-tuning of the base model: every later adapter stands on it.",
    "samples": "The SFT model's responses to the prompts, which pairs are made of.",
    "preferences": "The annotator chooses the better of two responses.",
    "edits": "The worse response is edited where it is wrong, and no more.",
    "spans": "The errors of the worse response are marked.",
    "best_responses": "The best of n responses of the SFT model to each training prompt.",
    "reward_model": "A reward model learns from the pairs.",
    "rm_evaluation": "The reward model is measured on held-out pairs.",
    "ppo": "The policy is trained against the reward model.",
    "outputs": "The policy answers the test prompts.",
    "judgement": "The judge compares those answers with the reference's.",
}
_FACTS = {
    "run": "The name of its folder.",
    "suite": "The prompts, and who annotates, edits and judges them.",
    "seed": "Source of every random choice of the run.",
    "status": "How it ended; only what ended ok enters the numbers.",
    "config hash": "Equal values of the configuration, equal hash.",
    "judged ok": "Answers with a verdict for one side.",
    "judged tie": "Answers that the judge finds as good as the reference.",
    "judge USD": "What the judge's answers cost.",
    "best step": "The PPO step with the best validation score, whose policy was kept.",
    "commit": "Of GrainBench's code; 'changed' where the checkout had local changes.",
    "preset": "Where the values of the configuration came from.",
    "reference": "The answers that methods are compared with. In brackets the hash of their texts: "
    "only runs with the same one are ranked together.",
    "judge": "Who says which answer is better.",
    "judge prompt": "Hash of what the judge is asked: only runs with the same are ranked together.",
    "editor": "Who made the minimal edits.",
    "base model": "What every method starts from.",
    "dtype": "The arithmetic: 32 or 16 bits a number.",
    "threads": "Of the CPU; with another number the last bits may differ.",
    "cpu capability": "The instructions that torch's own kernels use.",
    "blas": "The library that multiplies matrices on the CPU.",
    "Cached": "Whether it was found in the store, computed by an earlier run.",
    "Tokens": "Tokens that the stage produced or read.",
    "Key": "Start of the hash under which the store keeps it.",
    "Peak GiB": COLUMNS["Peak GiB"],
    "steps to 90 %": COLUMNS["90 % steps"],
    "time to 90 %": COLUMNS["90 % time"],
}


def fact_meaning(name: str) -> str:
    """What a fact of a run's record means; "" where its name says it."""
    if name.startswith("data: "):
        return "Rows of this split, and the hash of them."
    return _FACTS.get(name, "")


def metric_term(metric: str) -> Term:
    """What a metric of a record is called; one that a suite declares has its name alone."""
    for end, (name, meaning) in _ENDS.items():
        if metric.endswith(end):
            base = metric_term(metric.removesuffix(end))
            return Term(base.name + name, " ".join(filter(None, (base.meaning, meaning))))
    if metric.startswith(PROBE):
        text = "How often the reward model prefers a right answer to one with this error planted."
        return Term(f"Planted error: {kind(metric)}", text)
    if metric.startswith(DETECTION):
        own = _plain(metric.removeprefix(DETECTION))
        text = "Whether its model scores segments with such an error below others: 1 always, .5 by "
        return Term(f"Finds errors: {own}", text + "chance.")
    for start, name, who in (
        (ACCURACY, "Accuracy on", "reward model prefers"),
        (LONGER, "The longer wins on", "longer answer is"),
    ):
        if metric.startswith(start):
            own = _plain(metric.removeprefix(start))
            pairs = _PAIRS.get(metric.removeprefix(start)) or Term(own, f"pairs: {own}")
            text = f"How often the {who} the better side of held-out {pairs.meaning}."
            return Term(f"{name} {pairs.name}", text)
    return METRICS.get(metric) or Term(_plain(metric).capitalize())


def method_term(row: Row) -> Term:
    """A row's label, with the registry's line on its method; nothing is imported for it."""
    known = {entry.name: entry.summary for entry in METHODS.entries()}
    return Term(row.label, known.get(row.method, ""))


def paper_address(paper: str) -> str:
    """Where a paper can be read; "" for what is not the id of one on arXiv."""
    found = re.fullmatch(r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)", paper)
    return f"https://arxiv.org/abs/{found[1]}" if found else ""


def _plain(name: str) -> str:
    return name.replace("_", " ")
