"""The tables of a study: rows are added, and never changed or removed.

What holds now is a view over what was done. A migration is a tuple of statements that leads from
one `user_version` to the next; the first one makes the tables.
"""

from __future__ import annotations

APPLICATION_ID = 0x47425354  # "GBST", in the header of the file
TABLES = (
    "settings",
    "people",
    "tokens",
    "revocations",
    "items",
    "golds",
    "assignments",
    "leases",
    "actions",
    "adjudicators",
    "adjudications",
)

_FIRST = (
    """CREATE TABLE settings (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        value TEXT NOT NULL CHECK (json_valid(value)),
        at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE people (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE tokens (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        person INTEGER NOT NULL REFERENCES people,
        sha TEXT NOT NULL UNIQUE,
        at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE revocations (
        token INTEGER PRIMARY KEY REFERENCES tokens,
        at REAL NOT NULL
    ) STRICT""",
    # `draw`, in [0, 1), is a hash of the id: whether several people get the item.
    """CREATE TABLE items (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        task TEXT NOT NULL CHECK (task IN ('edit', 'prefer', 'rank', 'spans')),
        row TEXT NOT NULL CHECK (json_valid(row)),
        draw REAL NOT NULL CHECK (draw >= 0 AND draw < 1),
        at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE golds (
        item INTEGER PRIMARY KEY REFERENCES items,
        value TEXT NOT NULL CHECK (json_valid(value)),
        at REAL NOT NULL
    ) STRICT""",
    # `shown`: the item's responses in the order in which this person sees them.
    """CREATE TABLE assignments (
        person INTEGER NOT NULL REFERENCES people,
        item INTEGER NOT NULL REFERENCES items,
        shown TEXT NOT NULL CHECK (json_valid(shown)),
        at REAL NOT NULL,
        PRIMARY KEY (person, item)
    ) STRICT""",
    """CREATE TABLE leases (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        person INTEGER NOT NULL,
        item INTEGER NOT NULL,
        at REAL NOT NULL,
        until REAL NOT NULL,
        FOREIGN KEY (person, item) REFERENCES assignments
    ) STRICT""",
    """CREATE TABLE actions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        person INTEGER NOT NULL,
        item INTEGER NOT NULL,
        kind TEXT NOT NULL,
        answer TEXT NOT NULL CHECK (json_valid(answer)),
        done INTEGER NOT NULL CHECK (done IN (0, 1)),
        seconds REAL NOT NULL CHECK (seconds >= 0),
        undoes INTEGER UNIQUE REFERENCES actions,
        at REAL NOT NULL,
        CHECK ((kind = 'undo') = (undoes IS NOT NULL)),
        FOREIGN KEY (person, item) REFERENCES assignments
    ) STRICT""",
    # Who may see what others said, and decide where they disagree.
    """CREATE TABLE adjudicators (
        person INTEGER PRIMARY KEY REFERENCES people,
        at REAL NOT NULL
    ) STRICT""",
    # `answer` is in the terms of the item's own order of responses.
    """CREATE TABLE adjudications (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        person INTEGER NOT NULL REFERENCES people,
        item INTEGER NOT NULL REFERENCES items,
        kind TEXT NOT NULL,
        answer TEXT NOT NULL CHECK (json_valid(answer)),
        undoes INTEGER UNIQUE REFERENCES adjudications,
        at REAL NOT NULL,
        CHECK ((kind = 'undo') = (undoes IS NOT NULL))
    ) STRICT""",
    "CREATE INDEX items_by_task ON items (task, number)",
    "CREATE INDEX assignments_by_item ON assignments (item)",
    "CREATE INDEX leases_by_item ON leases (item, person, until)",
    "CREATE INDEX actions_by_item ON actions (item, person, number)",
    "CREATE INDEX actions_by_person ON actions (person, number)",
    # The actions that were not taken back.
    """CREATE VIEW standing AS
        SELECT a.* FROM actions a
        WHERE a.kind <> 'undo'
        AND NOT EXISTS (SELECT 1 FROM actions u WHERE u.undoes = a.number)""",
    # The last one of each person and item.
    """CREATE VIEW current AS
        SELECT s.* FROM standing s WHERE s.number = (
            SELECT max(t.number) FROM standing t WHERE t.item = s.item AND t.person = s.person
        )""",
    "CREATE INDEX adjudications_by_item ON adjudications (item, number)",
    # The adjudications that were not taken back; the last one of an item is in force.
    """CREATE VIEW ruling AS
        SELECT a.* FROM adjudications a
        WHERE a.kind <> 'undo'
        AND NOT EXISTS (SELECT 1 FROM adjudications u WHERE u.undoes = a.number)""",
    *(
        f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table}: rows are added, never changed'); END"
        for table in TABLES
        for verb in ("UPDATE", "DELETE")
    ),
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
