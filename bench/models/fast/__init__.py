"""Ways to the same numbers at less cost; tests prove each equal to the plain path.

packing.py      batches without padding; attention.py: who attends to whom in them, and the kernels
narrowing.py    the last layer only where its output is read
cache.py        key-value caches with room to grow; lora.py: the low-rank product in fewer calls
"""
