"""The stages of a run: one module builds one, `planning` describes them all.

sft.py, samples.py, preferences.py, edits.py (asked_edits.py: by an editor), spans.py,
reward_models.py, rm_evaluation.py, segment_evaluation.py, policy.py, outputs.py,
judgement.py                                             a build function each
given.py                                                 pairs and edits that the suite brings
given_rewards.py                                         the reward model that a user brings
pairs.py, drawing.py, judging.py, measures.py            what several of them use
sources/                                                 what each token is paid
reading.py, checks.py                                    what is read beside the inputs; what is
                                                         refused before a run
planning.py                                              what methods put together; chosen.py and
                                                         planned_source.py: the plug-ins that a
                                                         plan hands to stages

What a stage's module imports, wherever it stands, decides when the stage is computed again
(`bench.pipeline.sources`); so it imports what its result needs, and nothing that only shows or
plans.
"""
