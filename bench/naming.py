"""Names of files and ids that are made of what somebody wrote."""

import re


def file_name(text: str) -> str:
    """`text` reduced to letters, digits, ``.``, ``_``, ``+`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-")


class Names:
    """File names and ids from what a record says: safe in a path, and each given out once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def new(self, text: str) -> str:
        """`text` reduced to letters, digits, ``.``, ``_`` and ``-``; numbered if it is taken."""
        name = base = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "unnamed"
        number = 1
        while name.lower() in self._given:  # some file systems ignore case
            number += 1
            name = f"{base}-{number}"
        self._given.add(name.lower())
        return name
