"""What a run leaves behind.

schema.py       the record's form; migrations.py: older forms, brought to today's
files.py        reading and writing it, whole or not at all
labels.py       which row a run belongs to, and what its folder is called
provenance.py   the code, packages and machine that numbers come from
"""
