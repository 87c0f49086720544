"""The stages of a run: one module builds one, `planning` describes them all.

sft.py, samples.py, preferences.py, edits.py (asked_edits.py: by an editor), spans.py,
reward_models.py, rm_evaluation.py, segment_evaluation.py, policy.py, offline.py, best_responses.py,
outputs.py, best_outputs.py, judgement.py, monte_carlo.py
                                                         a build function each
given.py                                                 pairs and edits that the suite brings
given_rewards.py                                         the reward model that a user brings
pairs.py, drawing.py, judging.py, measures.py, best.py   what several of them use
policy_training.py, validating.py, distance.py           likewise, where a policy is trained
sources/                                                 what each token is paid
credit.py                                                what was paid, for `bench credit`
reading.py, checks.py                                    what is read beside the inputs; what is
                                                         refused before a run
planning/                                                what methods put together; chosen.py,
                                                         planned_source.py and planned_best.py: the
                                                         plug-ins and choices that a plan hands to
                                                         stages; scorers.py, categories.py: what
                                                         plans of several methods share

What a stage's module imports, wherever it stands, decides when the stage is computed again
(`bench.pipeline.sources`); so it imports what its result needs, and nothing that only shows or
plans.
"""
