"""GrainBench: what does finer-grained supervision buy in RLHF?"""
