"""People edit, prefer, rank and mark: one SQLite file, and the page for it in `web`.

schema.py       the tables; database.py opens the file, writes, reads, copies
tasks.py        the four tasks: their rows, and what a file of each may hold
answers.py      what a person may answer, checked
items.py        files into the study; people.py: who works on it, by tokens
queue.py        who gets which item next
study.py        all of it as one object, which pages and commands call
adjudication.py where people disagree, and who decides
results.py      what is current; export.py writes it, editor.py and judge.py give it to runs
agreement.py    how far people agree; report.py says it, show.py shows it
"""
