"""Every setting of a run.

run.py          the sections with their fields
section.py      what they, and plug-ins' own options, are made of
loading.py      presets and overrides, read, checked and described
presets/        complete configurations, each value with its source
"""
