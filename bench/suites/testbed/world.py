"""What is true in the testbed, and what its web gets wrong.

520 real facts about 130 entities. Three facts in four carry a *misconception*: a plausible wrong
value that the pretraining text repeats about as often as the truth. A model pretrained on that text
is therefore wrong about as often as right, and sharpening its own distribution does not mend it:
only supervision that knows the truth does. That is what makes methods distinguishable.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

WORLD_SEED = 20240604
"""One constant: the world is the same in every run, whatever the run's seed."""

MISCONCEIVED_SHARE = 0.75
MISCONCEPTION_RANGE = (0.30, 0.65)
OTHER_ERROR = 0.03
RLHF_ENTITIES = {"country": 6, "element": 4, "animal": 4}
"""Those that are asked about: as few as 6,000 pairs can teach the facts of (docs/testbed.md)."""
UNSEEN_ENTITIES = {"country": 6, "element": 4, "animal": 3}

ATTRIBUTES = {
    "country": ("capital", "currency", "continent", "language"),
    "element": ("symbol", "atomic number", "family", "state"),
    "animal": ("class", "diet", "young", "home"),
}

# name | capital | another large city, the usual mistake | currency | continent | language
_COUNTRIES = """\
France|Paris|Lyon|euro|Europe|French
Germany|Berlin|Munich|euro|Europe|German
Italy|Rome|Milan|euro|Europe|Italian
Spain|Madrid|Barcelona|euro|Europe|Spanish
Portugal|Lisbon|Porto|euro|Europe|Portuguese
Poland|Warsaw|Krakow|zloty|Europe|Polish
Greece|Athens|Patras|euro|Europe|Greek
Sweden|Stockholm|Gothenburg|krona|Europe|Swedish
Norway|Oslo|Bergen|krone|Europe|Norwegian
Denmark|Copenhagen|Aarhus|krone|Europe|Danish
Finland|Helsinki|Tampere|euro|Europe|Finnish
Iceland|Reykjavik|Akureyri|krona|Europe|Icelandic
Hungary|Budapest|Debrecen|forint|Europe|Hungarian
Romania|Bucharest|Cluj|leu|Europe|Romanian
Albania|Tirana|Durres|lek|Europe|Albanian
Ukraine|Kyiv|Odesa|hryvnia|Europe|Ukrainian
Russia|Moscow|Kazan|ruble|Europe|Russian
Austria|Vienna|Graz|euro|Europe|German
Serbia|Belgrade|Nis|dinar|Europe|Serbian
Turkey|Ankara|Istanbul|lira|Asia|Turkish
Egypt|Cairo|Alexandria|pound|Africa|Arabic
Morocco|Rabat|Casablanca|dirham|Africa|Arabic
Algeria|Algiers|Oran|dinar|Africa|Arabic
Tunisia|Tunis|Sfax|dinar|Africa|Arabic
Libya|Tripoli|Benghazi|dinar|Africa|Arabic
Nigeria|Abuja|Lagos|naira|Africa|English
Ghana|Accra|Kumasi|cedi|Africa|English
Kenya|Nairobi|Mombasa|shilling|Africa|Swahili
Tanzania|Dodoma|Arusha|shilling|Africa|Swahili
Ethiopia|Addis Ababa|Gondar|birr|Africa|Amharic
Senegal|Dakar|Touba|franc|Africa|French
Angola|Luanda|Huambo|kwanza|Africa|Portuguese
Zambia|Lusaka|Kitwe|kwacha|Africa|English
Mozambique|Maputo|Beira|metical|Africa|Portuguese
Madagascar|Antananarivo|Toamasina|ariary|Africa|Malagasy
China|Beijing|Shanghai|yuan|Asia|Mandarin
Japan|Tokyo|Osaka|yen|Asia|Japanese
India|New Delhi|Mumbai|rupee|Asia|Hindi
Pakistan|Islamabad|Karachi|rupee|Asia|Urdu
Nepal|Kathmandu|Pokhara|rupee|Asia|Nepali
Bangladesh|Dhaka|Khulna|taka|Asia|Bengali
Thailand|Bangkok|Phuket|baht|Asia|Thai
Vietnam|Hanoi|Hue|dong|Asia|Vietnamese
Cambodia|Phnom Penh|Battambang|riel|Asia|Khmer
Laos|Vientiane|Pakse|kip|Asia|Lao
Indonesia|Jakarta|Surabaya|rupiah|Asia|Indonesian
Malaysia|Kuala Lumpur|Ipoh|ringgit|Asia|Malay
Mongolia|Ulaanbaatar|Erdenet|tugrik|Asia|Mongolian
Iran|Tehran|Shiraz|rial|Asia|Persian
Iraq|Baghdad|Basra|dinar|Asia|Arabic
Jordan|Amman|Irbid|dinar|Asia|Arabic
Kazakhstan|Astana|Almaty|tenge|Asia|Kazakh
Brazil|Brasilia|Recife|real|South America|Portuguese
Argentina|Buenos Aires|Rosario|peso|South America|Spanish
Chile|Santiago|Valparaiso|peso|South America|Spanish
Peru|Lima|Cusco|sol|South America|Spanish
Mexico|Mexico City|Guadalajara|peso|North America|Spanish
Cuba|Havana|Camaguey|peso|North America|Spanish
Canada|Ottawa|Toronto|dollar|North America|English
Australia|Canberra|Sydney|dollar|Oceania|English"""

# name | symbol | atomic number | family | state at room temperature
_ELEMENTS = """\
hydrogen|H|1|nonmetals|gas
helium|He|2|noble gases|gas
lithium|Li|3|alkali metals|solid
beryllium|Be|4|alkaline earths|solid
boron|B|5|metalloids|solid
carbon|C|6|nonmetals|solid
nitrogen|N|7|nonmetals|gas
oxygen|O|8|nonmetals|gas
fluorine|F|9|halogens|gas
neon|Ne|10|noble gases|gas
sodium|Na|11|alkali metals|solid
magnesium|Mg|12|alkaline earths|solid
aluminium|Al|13|poor metals|solid
silicon|Si|14|metalloids|solid
phosphorus|P|15|nonmetals|solid
sulfur|S|16|nonmetals|solid
chlorine|Cl|17|halogens|gas
argon|Ar|18|noble gases|gas
potassium|K|19|alkali metals|solid
calcium|Ca|20|alkaline earths|solid
titanium|Ti|22|transition metals|solid
chromium|Cr|24|transition metals|solid
manganese|Mn|25|transition metals|solid
iron|Fe|26|transition metals|solid
cobalt|Co|27|transition metals|solid
nickel|Ni|28|transition metals|solid
copper|Cu|29|transition metals|solid
zinc|Zn|30|transition metals|solid
germanium|Ge|32|metalloids|solid
bromine|Br|35|halogens|liquid
krypton|Kr|36|noble gases|gas
silver|Ag|47|transition metals|solid
tin|Sn|50|poor metals|solid
iodine|I|53|halogens|solid
xenon|Xe|54|noble gases|gas
platinum|Pt|78|transition metals|solid
gold|Au|79|transition metals|solid
mercury|Hg|80|transition metals|liquid
lead|Pb|82|poor metals|solid
uranium|U|92|actinides|solid"""

# name | class | diet | name of the young | home
_ANIMALS = """\
horse|mammals|grass|foal|steppe
cow|mammals|grass|calf|farmland
sheep|mammals|grass|lamb|hills
lion|mammals|meat|cub|savanna
tiger|mammals|meat|cub|jungle
wolf|mammals|meat|pup|forest
fox|mammals|meat|kit|forest
bear|mammals|anything|cub|forest
deer|mammals|leaves|fawn|forest
goat|mammals|leaves|kid|hills
kangaroo|mammals|grass|joey|bush
koala|mammals|leaves|joey|bush
elephant|mammals|leaves|calf|savanna
giraffe|mammals|leaves|calf|savanna
zebra|mammals|grass|foal|savanna
camel|mammals|grass|calf|desert
whale|mammals|plankton|calf|sea
dolphin|mammals|fish|calf|sea
rabbit|mammals|grass|kit|meadow
hedgehog|mammals|insects|hoglet|garden
owl|birds|meat|owlet|forest
eagle|birds|meat|eaglet|mountains
duck|birds|plants|duckling|pond
goose|birds|grass|gosling|marsh
swan|birds|plants|cygnet|lake
penguin|birds|fish|chick|Antarctic
frog|amphibians|insects|tadpole|pond
butterfly|insects|nectar|caterpillar|meadow
crocodile|reptiles|meat|hatchling|river
salmon|fish|shrimp|fry|river"""


@dataclass(frozen=True)
class Fact:
    """One attribute of one entity.

    Attributes:
        attribute: its name, as in `ATTRIBUTES`.
        value: the truth.
        misconception: the wrong value that the corpus prefers.
        error: probability of the misconception in the corpus.
    """

    attribute: str
    value: str
    misconception: str
    error: float


@dataclass(frozen=True)
class Entity:
    """A country, an element or an animal.

    Attributes:
        name: how a clause refers to it: "France", "gold", "the horse".
        kind: "country", "element" or "animal".
        facts: attribute -> fact.
        role: "rlhf", "unseen" (held out of RLHF) or "other" (pretraining only).
    """

    name: str
    kind: str
    facts: dict[str, Fact]
    role: str

    def __hash__(self) -> int:
        """Names are unique; the dict of facts could not be hashed."""
        return hash(self.name)

    @property
    def attributes(self) -> tuple[str, ...]:
        """The four attributes of its kind, in the order of `ATTRIBUTES`."""
        return ATTRIBUTES[self.kind]


@dataclass(frozen=True)
class World:
    """All entities, and the values that occur for each attribute."""

    entities: tuple[Entity, ...]
    values: dict[str, tuple[str, ...]]

    @cached_property
    def by_name(self) -> dict[str, Entity]:
        """Name as used in text -> entity."""
        return {entity.name: entity for entity in self.entities}

    def with_role(self, *roles: str) -> tuple[Entity, ...]:
        """The entities that play one of these roles."""
        return tuple(entity for entity in self.entities if entity.role in roles)


def build_world(seed: int = WORLD_SEED) -> World:
    """Read the tables and draw misconceptions and roles.

    Args:
        seed: leave it alone, unless the shipped base model is rebuilt too.

    Returns:
        The world; equal for equal seeds.
    """
    rng = random.Random(seed)
    rows = {kind: _rows(kind) for kind in ATTRIBUTES}
    values = {
        attribute: tuple(sorted({row[1][i] for row in rows[kind]}))
        for kind, names in ATTRIBUTES.items()
        for i, attribute in enumerate(names)
    }
    entities: list[Entity] = []
    for kind, table in rows.items():
        roles = _roles(kind, len(table), rng)
        for (name, truths, city), role in zip(table, roles, strict=True):
            pairs = zip(ATTRIBUTES[kind], truths, strict=True)
            facts = {a: _fact(a, truth, city, values[a], rng) for a, truth in pairs}
            entities.append(Entity(name, kind, facts, role))
    return World(tuple(entities), values)


def _rows(kind: str) -> list[tuple[str, tuple[str, ...], str | None]]:
    """Rows of a table as (name, values in the order of ATTRIBUTES, tempting city or None)."""
    if kind == "country":
        cells = [line.split("|") for line in _COUNTRIES.splitlines()]
        return [(c[0], (c[1], *c[3:]), c[2]) for c in cells]
    table, article = (_ELEMENTS, "") if kind == "element" else (_ANIMALS, "the ")
    cells = [line.split("|") for line in table.splitlines()]
    return [(article + c[0], tuple(c[1:]), None) for c in cells]


def _roles(kind: str, total: int, rng: random.Random) -> list[str]:
    rlhf, unseen = RLHF_ENTITIES[kind], UNSEEN_ENTITIES[kind]
    roles = ["rlhf"] * rlhf + ["unseen"] * unseen + ["other"] * (total - rlhf - unseen)
    rng.shuffle(roles)
    return roles


def _fact(
    attribute: str, truth: str, city: str | None, values: tuple[str, ...], rng: random.Random
) -> Fact:
    low, high = MISCONCEPTION_RANGE
    error = rng.uniform(low, high) if rng.random() < MISCONCEIVED_SHARE else OTHER_ERROR
    if attribute == "capital" and city is not None:
        wrong = city
    elif attribute == "atomic number":
        offsets = [d for d in (-10, -2, -1, 1, 2, 10) if int(truth) + d > 0]
        wrong = str(int(truth) + rng.choice(offsets))
    else:
        wrong = rng.choice([value for value in values if value != truth])
    return Fact(attribute, truth, wrong, error)


WORLD = build_world()
