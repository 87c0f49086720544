"""The page of a study: a small server that gives each person their own items.

serve.py    an address, a server, its end; app.py puts the parts below together
pages.py    what each address answers; forms.py reads what a page sends
access.py   who asks: links, cookies, wrong tokens; guard.py: Host, Origin, headers of every answer
render.py   templates; texts.py: what an edit changed and what is marked, as pieces of text
guide.py    instructions for the people, from Markdown
static/     htmx 4.0.1 with its licence, style, a script a task
"""
