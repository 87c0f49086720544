"""The page of a study: a small server that gives each person their own items.

serve.py    an address, a server, its end; app.py puts the parts below together
pages.py    what people answer, decide.py: what adjudicators decide; values.py for both
desk.py     what all pages share; forms.py reads what they send
access.py   who asks: links, cookies, wrong tokens; guard.py: Host, Origin, headers of every answer
render.py   templates; texts.py: what an edit changed and what is marked, as pieces of text
guide.py    instructions for the people, from Markdown
static/     htmx 4.0.1 with its licence, style, a script a task
"""
