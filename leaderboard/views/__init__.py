"""How what was found is shown, on a terminal, in Markdown, CSV and HTML."""
