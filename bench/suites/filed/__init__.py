"""What suites of files share: where files are, which column is what, and who may see which prompt.

sources.py      a file here, or of a data set on the hub at a commit
columns.py      a row's fields under the names that its file has for them
suite.py        the splits, the draws, what is left out; pairs, edits and spans for suites with them
"""
