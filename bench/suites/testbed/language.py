"""How the testbed puts things into words: data, and the filling of templates; no decisions.

Grammar of a response: sentences end in ".", "?" or "!"; a sentence is clauses joined by ", and ".
No clause contains ", and " or a full stop, so a response can be taken apart again exactly.
"""

from __future__ import annotations

from bench.suites.testbed.world import Entity

JOINER = ", and "

PHRASINGS = (
    "What are {attributes} of {entity}?",
    "Tell me {attributes} of {entity}.",
    "Please give {attributes} of {entity}.",
    "I want to know {attributes} of {entity}.",
    "Could you tell me {attributes} of {entity}?",
    "Name {attributes} of {entity}.",
    "Which are {attributes} of {entity}?",
    "Write down {attributes} of {entity}.",
)

CONSTRAINTS = {
    "none": "",
    "one_sentence": "Answer in one sentence.",
    "simile": "Use a simile.",
    "question": "End with a question.",
}
CONSTRAINT_SHARES = {"none": 0.34, "one_sentence": 0.22, "simile": 0.22, "question": 0.22}

CLAUSES = {
    "capital": (
        "the capital of {entity} is {value}",
        "{entity} has its capital in {value}",
        "{value} is the capital of {entity}",
    ),
    "currency": (
        "the currency of {entity} is the {value}",
        "people in {entity} pay with the {value}",
        "{entity} uses the {value} as its currency",
    ),
    "continent": (
        "{entity} lies in {value}",
        "the continent of {entity} is {value}",
        "{entity} is a country in {value}",
    ),
    "language": (
        "the language of {entity} is {value}",
        "people in {entity} speak {value}",
        "{value} is spoken in {entity}",
    ),
    "symbol": (
        "the symbol of {entity} is {value}",
        "{entity} has the symbol {value}",
        "chemists write {entity} as {value}",
    ),
    "atomic number": (
        "the atomic number of {entity} is {value}",
        "{entity} has the atomic number {value}",
        "{entity} has {value} protons in each atom",
    ),
    "family": (
        "{entity} belongs to the {value}",
        "the family of {entity} is the {value}",
        "{entity} is one of the {value}",
    ),
    "state": (
        "the state of {entity} is {value}",
        "{entity} is a {value} at room temperature",
        "at room temperature {entity} is a {value}",
    ),
    "class": (
        "{entity} is one of the {value}",
        "{entity} belongs to the {value}",
        "the class of {entity} is the {value}",
    ),
    "diet": (
        "{entity} eats {value}",
        "the diet of {entity} is {value}",
        "{entity} mostly feeds on {value}",
    ),
    "young": (
        "the young of {entity} is the {value}",
        "the {value} is the young of {entity}",
        "{entity} raises a young {value}",
    ),
    "home": (
        "{entity} lives in the {value}",
        "the home of {entity} is the {value}",
        "you can find {entity} in the {value}",
    ),
}

FIXED = {
    "simile": (
        "{entity} is like an open book",
        "{entity} is like a song from long ago",
        "{entity} is as rich as an old library",
        "{entity} shines like a lamp in the dark",
        "{entity} is like a river that never sleeps",
        "{entity} is as clear as morning light",
        "learning this is like opening a window",
        "such facts are like stars in the night",
    ),
    "question": (
        "would you like to know more",
        "what else do you want to learn",
        "does this answer your question",
        "did you know that already",
        "shall I tell you more about {entity}",
        "what do you think of {entity}",
    ),
    "polite": (
        "I hope this helps",
        "thank you for asking",
        "it is a pleasure to help",
        "I am happy to tell you more",
        "please ask again at any time",
    ),
    "hype": (
        "this is the best answer you will ever read",
        "nobody explains {entity} better than I do",
        "I am never wrong about {entity}",
        "experts all over the world admire my answers",
        "my knowledge of {entity} is simply perfect",
        "no book can match what I know",
    ),
    "rude": (
        "only a fool would ask about {entity}",
        "you should have known that yourself",
        "stop wasting my time with such questions",
        "even a child knows more than you",
        "I doubt that you can understand this",
        "you really are slow to learn",
    ),
}
"""Clauses that state no fact, by kind."""


def fact_clause(entity: Entity, attribute: str, value: str, template: int) -> str:
    """A fact in words, uncapitalised, without punctuation.

    Args:
        entity: whom it is about.
        attribute: one of the entity's.
        value: what to claim; need not be true.
        template: index into `CLAUSES[attribute]`.
    """
    return CLAUSES[attribute][template].format(entity=entity.name, value=value)


def fixed_clause(entity: Entity, kind: str, index: int) -> str:
    """A clause without a fact, uncapitalised, without punctuation."""
    return FIXED[kind][index].format(entity=entity.name)


def attribute_list(attributes: tuple[str, ...]) -> str:
    """The attributes as prompts list them: "the capital, currency and language"."""
    *head, last = attributes
    return f"the {', '.join(head)} and {last}" if head else f"the {last}"


def capitalise(text: str) -> str:
    """First letter upper case, the rest untouched."""
    return text[:1].upper() + text[1:]


def uncapitalise(text: str, entity: Entity, keep: tuple[str, ...] = ()) -> str:
    """First letter lower case, unless the clause starts with a name, a value or "I"."""
    starts_with_name = any(name and text.startswith(name) for name in (entity.name, "I ", *keep))
    return text if starts_with_name else text[:1].lower() + text[1:]
