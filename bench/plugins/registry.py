"""All plug-ins by name: the table of the built-in ones. `bench.plugins.entries` is how it works.

A package adds a method without a change here by declaring, in its own pyproject.toml::

    [project.entry-points."grainbench.methods"]
    my_method = "my_package.my_method:MyMethod"

and likewise `grainbench.objectives`, `grainbench.segmenters`, `grainbench.token_sources`,
`grainbench.advantages`, `grainbench.offline_losses`, `grainbench.algorithms`, `grainbench.judges`,
`grainbench.editors` and `grainbench.suites`.
"""

from __future__ import annotations

from typing import Any

from bench.plugins.entries import Entry, Registry

METHODS: Registry[Any] = Registry(
    "method",
    [
        Entry("sft", "methods.sft:SFT", "supervised fine-tuning: the floor", "arXiv:2203.02155"),
        Entry(
            "ppo_rlhf",
            "methods.ppo_rlhf:PPORLHF",
            "one reward a response, learned from original pairs",
            "arXiv:2203.02155",
        ),
        Entry(
            "fine_grained_ppo",
            "methods.fine_grained_ppo:FineGrainedPPO",
            "one reward a response, learned from minimal edits",
            "arXiv:2406.02756",
        ),
        Entry(
            "token_ppo",
            "methods.token_ppo:TokenPPO",
            "a reward at every token, learned from minimal edits",
            "arXiv:2406.02756",
        ),
        Entry(
            "segment_ppo",
            "methods.segment_ppo:SegmentPPO",
            "a reward for every sentence, learned from minimal edits",
            "arXiv:2306.01693",
        ),
        Entry(
            "gold_ppo",
            "methods.gold_ppo:GoldPPO",
            "the suite's gold score as reward: the ceiling",
            "arXiv:2210.10760",
        ),
        Entry(
            "gold_token_ppo",
            "methods.gold_token_ppo:GoldTokenPPO",
            "the gold score's terms, each at its token: the ceiling of density",
        ),
        Entry(
            "tlcr",
            "methods.tlcr:TLCR",
            "each token classified by what an edit did to it",
            "arXiv:2407.16574",
        ),
        Entry(
            "red",
            "methods.red:RED",
            "a sequence model's score, paid as it grows from token to token",
            "arXiv:2411.08302",
        ),
        Entry(
            "abc",
            "methods.abc:ABC",
            "a sequence model's score, shared out by its attention",
            "arXiv:2402.00782",
        ),
        Entry(
            "q_rm",
            "methods.q_rm:QRM",
            "a token model's outputs as values of actions, learned from original pairs",
            "arXiv:2505.23363",
        ),
        Entry(
            "dense_reward",
            "methods.dense_reward:DenseReward",
            "segments by the SFT model's entropy, normalised by place",
            "arXiv:2501.02790",
        ),
        Entry(
            "fine_grained_rlhf",
            "methods.fine_grained_rlhf:FineGrainedRLHF",
            "several models that find errors in segments, weighted, and one of the whole response",
            "arXiv:2306.01693",
        ),
        Entry(
            "ma_rlhf",
            "methods.ma_rlhf:MARLHF",
            "one reward a response, several tokens one action",
            "arXiv:2410.02743",
        ),
        Entry(
            "rloo",
            "methods.rloo:RLOO",
            "one reward a response against the other samples' mean, no value",
            "arXiv:2402.14740",
        ),
        Entry(
            "grpo",
            "methods.grpo:GRPO",
            "one reward a response, standardised within its group, no value",
            "arXiv:2402.03300",
        ),
        Entry(
            "dpo",
            "methods.dpo:DPO",
            "the policy itself learns from the pairs; no reward model, no rollout",
            "arXiv:2305.18290",
        ),
        Entry(
            "tdpo",
            "methods.tdpo:TDPO",
            "DPO with the divergence of each token's state",
            "arXiv:2404.11999",
        ),
        Entry(
            "figa",
            "methods.figa:FIGA",
            "what an edit put in is imitated, what it took out unlearned",
            "arXiv:2311.04072",
        ),
        Entry(
            "rrhf",
            "methods.rrhf:RRHF",
            "responses brought into order by their likelihoods",
            "arXiv:2304.05302",
        ),
        Entry(
            "best_of_n",
            "methods.best_of_n:BestOfN",
            "of n responses of the SFT model the one that scores highest; nothing is trained",
            "arXiv:2305.14387",
        ),
        Entry(
            "expert_iteration",
            "methods.expert_iteration:ExpertIteration",
            "the best of n responses to each training prompt, imitated",
            "arXiv:2305.14387",
        ),
        Entry(
            "rto",
            "methods.rto:RTO",
            "DPO's log-ratio as a reward at every token, then PPO",
            "arXiv:2404.18922",
        ),
    ],
    has=("Options", "plan"),
)
OBJECTIVES: Registry[Any] = Registry(
    "objective",
    [
        Entry(
            "comparison",
            "bench.training.objectives:ComparisonLoss",
            "Bradley-Terry on R, of pairs and rankings; of a token model Eq. 3",
            "arXiv:2203.02155",
        ),
        Entry(
            "eq4",
            "bench.training.objectives:ChangedTokensLoss",
            "the same on the tokens that the edit changed",
            "arXiv:2406.02756",
        ),
        Entry(
            "divergence",
            "bench.training.objectives:DivergenceLoss",
            "token by token from the first that differs",
            "arXiv:2308.01320",
        ),
        Entry(
            "token_labels",
            "bench.training.objectives:TokenLabelLoss",
            "each token classified by what the edit did to it",
            "arXiv:2407.16574",
        ),
        Entry(
            "segment_labels",
            "bench.training.objectives:SegmentLabelLoss",
            "each segment of an annotated response classified by whether an error is in it",
            "arXiv:2306.01693",
        ),
        Entry(
            "scaled_comparison",
            "bench.training.objectives:ScaledComparisonLoss",
            "Bradley-Terry on beta R with a margin",
            "arXiv:2505.23363",
        ),
    ],
)
SEGMENTERS: Registry[Any] = Registry(
    "segmenter",
    [
        Entry("sentences", "bench.models.segmenters:Sentences", "up to . ! ? or a line break"),
        Entry(
            "subsentences",
            "bench.models.segmenters:Subsentences",
            "sentences, and their parts up to , or ; where they are long",
            "arXiv:2306.01693",
        ),
        Entry(
            "entropy",
            "bench.models.segmenters:Entropy",
            "up to where the SFT model is unsure of what follows",
            "arXiv:2501.02790",
        ),
        Entry("ngrams", "bench.models.segmenters:NGrams", "as many tokens each"),
        Entry("separators", "bench.models.segmenters:Separators", "up to texts of your own"),
    ],
)
TOKEN_SOURCES: Registry[Any] = Registry(
    "token source",
    [
        Entry(
            "reward_model",
            "bench.stages.sources.scores:make_reward_model",
            "R, shared out as the reward model's granularity says",
            "arXiv:2406.02756",
        ),
        Entry(
            "gold", "bench.stages.sources.scores:make_gold", "the suite's gold score, at the end"
        ),
        Entry(
            "gold_terms",
            "bench.stages.sources.gold:make_gold_terms",
            "the gold score's own terms, where the text decides them",
        ),
        Entry(
            "prefix_differences",
            "bench.stages.sources.prefixes:make_prefix_differences",
            "what each token adds to a sequence model's score",
            "arXiv:2411.08302",
        ),
        Entry(
            "attention",
            "bench.stages.sources.attention:make_attention_shares",
            "a sequence model's score, by where it looked",
            "arXiv:2402.00782",
        ),
        Entry(
            "token_outputs",
            "bench.stages.sources.tokens:make_token_outputs",
            "a token model's outputs, not divided by the length",
            "arXiv:2505.23363",
        ),
        Entry(
            "token_classes",
            "bench.stages.sources.tokens:make_token_classes",
            "2 p - 1 of a token model that classifies",
            "arXiv:2407.16574",
        ),
        Entry(
            "segment_classes",
            "bench.stages.sources.segments:make_segment_classes",
            "+v or -v at the end of each segment, by a model that classifies",
            "arXiv:2306.01693",
        ),
        Entry(
            "placed_segments",
            "bench.stages.sources.places:make_placed_segments",
            "a segment model's outputs, normalised by the segment's place",
            "arXiv:2501.02790",
        ),
        Entry(
            "log_ratio",
            "bench.stages.sources.ratios:make_log_ratio",
            "log-ratios of a trained policy to the reference",
            "arXiv:2404.18922",
        ),
        Entry("sum", "bench.stages.sources.sums:make_sum", "several sources, weighted"),
    ],
)
ADVANTAGES: Registry[Any] = Registry(
    "advantage",
    [
        Entry(
            "gae",
            "bench.training.advantages:GAE",
            "generalised advantage estimation over tokens",
            "arXiv:1506.02438",
        ),
        Entry(
            "macro",
            "bench.training.advantages:MacroGAE",
            "GAE over macro actions of several tokens",
            "arXiv:2410.02743",
        ),
        Entry(
            "values",
            "bench.training.advantages:Values",
            "rewards read as values of actions: A = Z - c V",
            "arXiv:2505.23363",
        ),
        Entry(
            "leave_one_out",
            "bench.training.advantages:LeaveOneOut",
            "less the mean of the other responses to the prompt",
            "arXiv:2402.14740",
        ),
        Entry(
            "group",
            "bench.training.advantages:Group",
            "standardised within the responses to a prompt",
            "arXiv:2402.03300",
        ),
    ],
)
OFFLINE_LOSSES: Registry[Any] = Registry(
    "offline loss",
    [
        Entry(
            "dpo",
            "bench.training.offline_losses:DPO",
            "Bradley-Terry on log-ratios to the reference",
            "arXiv:2305.18290",
        ),
        Entry(
            "tdpo",
            "bench.training.offline_losses:TDPO",
            "the same with the divergence of the responses' states",
            "arXiv:2404.11999",
        ),
        Entry(
            "rrhf",
            "bench.training.offline_losses:RRHF",
            "hinge on mean log-probabilities, the best one imitated; of pairs and rankings",
            "arXiv:2304.05302",
        ),
        Entry(
            "figa",
            "bench.training.offline_losses:FIGA",
            "likelihood of what an edit put in, less that of what it took out",
            "arXiv:2311.04072",
        ),
        Entry(
            "imitation",
            "bench.training.offline_losses:Imitation",
            "cross-entropy of the best response",
            "arXiv:2305.14387",
        ),
    ],
    plural="offline losses",
)
ALGORITHMS: Registry[Any] = Registry(
    "algorithm",
    [
        Entry(
            "ppo",
            "bench.training.ppo:make_ppo",
            "PPO with a learned value; its options are the section ppo",
            "arXiv:1707.06347",
        ),
        Entry(
            "offline",
            "bench.training.offline:make_offline",
            "a loss on given responses, no rollout; its options are the section offline",
        ),
    ],
)
JUDGES: Registry[Any] = Registry(
    "judge",
    [
        Entry(
            "gold",
            "judges.gold:Gold",
            "the suite's own program, where it knows the truth",
            "arXiv:2210.10760",
        ),
        Entry(
            "alpaca_eval",
            "judges.alpaca_eval:AlpacaEval",
            "an annotator of AlpacaEval's, as its annotators_config has it",
            "arXiv:2404.04475",
        ),
        Entry(
            "claude",
            "judges.claude:Claude",
            "Claude compares the outputs, in both orders",
            "arXiv:2305.14387",
        ),
        Entry(
            "reviseval",
            "judges.reviseval:RevisEval",
            "Claude beside a reference made of each output: three times the calls",
            "arXiv:2410.05193",
        ),
        Entry(
            "openai",
            "judges.openai:OpenAI",
            "any OpenAI-compatible model, likewise: a second opinion",
            "arXiv:2305.14387",
        ),
        Entry(
            "replay",
            "judges.replay:Replay",
            "annotations from a file in AlpacaEval's format",
            "arXiv:2404.04475",
        ),
        Entry(
            "reward_model",
            "judges.reward_model:RewardModelJudge",
            "a reward model of pairs that no method learns from: a proxy, and said to be one",
            "arXiv:2210.10760",
        ),
        Entry(
            "human",
            "bench.studio.judge:HumanJudge",
            "preferences that people stated in a study",
            "arXiv:2203.02155",
        ),
    ],
    has=("Options",),
)
EDITORS: Registry[Any] = Registry(
    "editor",
    [
        Entry(
            "claude",
            "bench.editing.claude:Claude",
            "Claude edits the less preferred response, only where needed",
            "arXiv:2406.02756",
        ),
        Entry(
            "human",
            "bench.studio.editor:HumanEditor",
            "minimal edits that people made in a study",
            "arXiv:2406.02756",
        ),
    ],
    has=("Options",),
)
SUITES: Registry[Any] = Registry(
    "suite",
    [
        Entry(
            "testbed",
            "bench.suites.testbed.suite:Testbed",
            "a small world whose truth is known; needs no download",
            "arXiv:2210.10760",
        ),
        Entry(
            "jsonl",
            "bench.suites.jsonl:Jsonl",
            "your own prompts, pairs, edits and spans, named by a YAML file (docs/data.md)",
        ),
        Entry(
            "alpacafarm",
            "bench.suites.alpacafarm:AlpacaFarm",
            "instructions, people's or GPT-4's preferences, 805 instructions to judge",
            "arXiv:2305.14387",
        ),
        Entry(
            "qa_feedback",
            "bench.suites.qa_feedback:QAFeedback",
            "questions with people's preferences, corrections and error spans",
            "arXiv:2306.01693",
        ),
        Entry(
            "hh_rlhf",
            "bench.suites.hh_rlhf:HHRLHF",
            "dialogues, of which people chose one of two last turns",
            "arXiv:2204.05862",
        ),
        Entry(
            "alpaca_eval",
            "bench.suites.alpaca_eval:AlpacaEval",
            "annotation files of AlpacaEval as preferences",
            "arXiv:2404.04475",
        ),
    ],
    has=("Options",),
)
REGISTRIES: tuple[Registry[Any], ...] = (
    METHODS,
    OBJECTIVES,
    SEGMENTERS,
    TOKEN_SOURCES,
    ADVANTAGES,
    OFFLINE_LOSSES,
    ALGORITHMS,
    JUDGES,
    EDITORS,
    SUITES,
)
