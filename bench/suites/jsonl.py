"""A suite of a user's own files, which one small YAML file names; docs/data.md has an example."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from bench.config.section import Section
from bench.data import Edit, Preference, mismatch
from bench.errors import UserError, unknown, yaml_problem
from bench.hub import HubRepo
from bench.models.templates import PROMPT
from bench.suites.filed.columns import Fields, rows
from bench.suites.filed.sources import Source
from bench.suites.filed.suite import (
    EVALUATED,
    FileSuite,
    HasEdits,
    HasPairs,
    HasSpans,
    Spanned,
    numbered,
    part_of,
    text_id,
    with_capabilities,
)

# The fields that a table of each kind may map columns to.
FIELDS: dict[str, tuple[str, ...]] = {
    "demonstrations": ("prompt", "input", "response"),
    "prompts": ("prompt", "input"),
    "references": ("prompt", "input", "response"),
    "pairs": (
        *("id", "prompt", "input", "chosen", "rejected", "margin"),
        *("output_1", "output_2", "preference", "score"),
    ),
    "edits": ("id", "prompt", "input", "original", "edited", "source"),
    "spans": ("prompt", "input", "response", "spans", "start", "end", "kind"),
}
SPLITS = {
    "prompts": ("preference", "ppo", *EVALUATED),
    "pairs": ("preference", "held_out"),
}
# Tables that only measure what was trained. Validation is none: it chooses which weights are kept.
MEASURING = ("test", "unseen", "held_out", "references", "spans")


class TableSpec(Section):
    """Files of one kind of rows, and what they call the fields."""

    file: str | list[str] = Field(description="one or several, from the YAML file's folder on")
    hub: str | None = Field(None, description="the hub's data set that the files are in")
    revision: str | None = Field(None, description="of that")
    columns: dict[str, str] = Field({}, description="field: what the files call it")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A file's name alone is a table, too."""
        return {"file": value} if isinstance(value, str | list) else value

    def sources(self, folder: Path, *, measures: bool) -> list[Source]:
        """Where the files are; `measures` as `Source` has it."""
        repo = None if self.hub is None else HubRepo(self.hub, self.revision, "dataset")
        files = [self.file] if isinstance(self.file, str) else self.file
        return [Source(file, repo, folder, measures) for file in files]


class Shares(Section):
    """Of a file that serves several splits, the share of its prompts that each gets."""

    validation: float = Field(0.1, ge=0, lt=1, description="prompts that choose the checkpoint")
    test: float = Field(0.2, ge=0, lt=1, description="prompts of the win rate")
    unseen: float = Field(0.1, ge=0, lt=1, description="further prompts that are evaluated")
    held_out: float = Field(0.1, ge=0, lt=1, description="of the pairs")


class Spec(Section):
    """What the YAML file says."""

    model: str = Field(description="folder or hub id of the base model")
    template: str = Field(description="how a prompt is put to it; {prompt} stands for its text")
    demonstrations: TableSpec = Field(description="prompt, response: what SFT imitates")
    prompts: TableSpec | dict[str, TableSpec] = Field(
        description="one table that is divided, or one for each split"
    )
    references: TableSpec = Field(description="prompt, response: what a judge compares with")
    pairs: TableSpec | dict[str, TableSpec] | None = Field(
        None, description="preference pairs; one table is divided by prompt"
    )
    edits: TableSpec | None = Field(None, description="minimal edits of the rejected responses")
    spans: TableSpec | None = Field(None, description="where errors are")
    shares: Shares = Shares()
    seed: int = Field(0, description="by which a file is divided")
    licence: str = Field("", description="of the texts")
    texts_in_records: bool = Field(
        False, description="whether records, which are published, may hold some of the texts"
    )

    @field_validator("prompts", "pairs", mode="before")
    @classmethod
    def _by_split(cls, value: Any) -> Any:
        """A mapping without `file` is one of splits."""
        if isinstance(value, dict) and "file" not in value:
            return {key: TableSpec.model_validate(table) for key, table in value.items()}
        return value if value is None else TableSpec.model_validate(value)

    def tables(self, kind: str) -> dict[str, TableSpec]:
        """The tables of a kind, by split; of one that is for all of them, by ""."""
        found = getattr(self, kind)
        if found is None:
            return {}
        return found if isinstance(found, dict) else {"": found}

    def measures(self, table: TableSpec) -> bool:
        """Whether a table is in no other place than those of `MEASURING`."""
        return all(
            (split or kind) in MEASURING
            for kind in FIELDS
            for split, one in self.tables(kind).items()
            if one == table
        )


def read_spec(path: Path) -> Spec:
    """Read the YAML file.

    Raises:
        UserError: naming the file and the field that is wrong.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read suite.config={path}: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {yaml_problem(error)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected `name: value` lines ({', '.join(Spec.model_fields)})")
    try:
        spec = Spec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"] if key not in ("TableSpec", "dict[str,TableSpec]")]
        if first["type"] == "extra_forbidden":
            known = Spec.model_fields if len(keys) == 1 else TableSpec.model_fields
            known = Shares.model_fields if keys[0] == "shares" else known
            raise UserError(f"{path}: {unknown('field', '.'.join(keys), known)}") from error
        raise UserError(f"{path}, field {'.'.join(keys)}: {first['msg']}") from error
    _check(spec, path)
    return spec


def _check(spec: Spec, path: Path) -> None:
    """Refuse what each field may be by itself, and not beside the others."""
    for kind, fields in FIELDS.items():
        for split, table in spec.tables(kind).items():
            where = f"{path}, {kind}" + (f".{split}" if split else "")
            if split and split not in SPLITS[kind]:
                raise UserError(f"{path}: {unknown(f'split of {kind}', split, SPLITS[kind])}")
            for name in table.columns:
                if name not in fields:
                    raise UserError(f"{where}.columns: {unknown('field', name, fields)}")
    if PROMPT not in spec.template:
        raise UserError(f"{path}, field template: it must have {{prompt}}, where the prompt goes")
    if spec.edits and not spec.pairs:
        raise UserError(f"{path}, field edits: edits are of pairs' rejected responses; give pairs")
    shares = spec.shares
    if shares.validation + shares.test + shares.unseen >= 1:
        raise UserError(f"{path}, field shares: they leave no prompt to train on")


class JsonlOptions(Section):
    """Where the YAML file is."""

    config: str = Field(description="YAML file that names the data files (docs/data.md)")

    def result_fields(self) -> dict[str, Any]:
        """What the YAML file says of the data, and not what it and the data files are called."""
        apart = {"licence", "texts_in_records"}
        said = read_spec(Path(self.config)).model_dump(exclude_defaults=True, exclude=apart)
        return {"config": _without_files(said)}


def _without_files(said: Any) -> Any:
    """Without the names of files that are here, whose content is in the keys.

    What is on the hub is keyed by its commit, which all files of a data set have.
    """
    if not isinstance(said, dict):
        return said
    dropped = () if "hub" in said else ("file",)
    return {key: _without_files(value) for key, value in said.items() if key not in dropped}


class Jsonl(FileSuite):
    """A user's own data. It can do what its files give: pairs, edits and spans, or some of them."""

    name = "jsonl"
    Options = JsonlOptions

    def __new__(cls, options: JsonlOptions) -> Jsonl:
        """One of the class that has what the files give."""
        spec = read_spec(Path(options.config))
        given = [(spec.edits, _Edited), (spec.pairs, _Paired), (spec.spans, _Spanned)]
        capabilities = [kind for table, kind in given if table is not None]
        return super().__new__(with_capabilities(cls, *capabilities))

    def __init__(self, options: JsonlOptions) -> None:
        super().__init__(options)
        path = Path(options.config)
        self.spec, self.folder = read_spec(path), path.parent
        self.licence, self.texts_in_records = self.spec.licence, self.spec.texts_in_records
        self.prompt_template, model = self.spec.template, self.folder / self.spec.model
        self.model_path = str(model) if model.exists() else self.spec.model

    def own_files(self, part: str) -> Sequence[Path | HubRepo]:
        """Of the part's tables."""
        kind = "prompts" if part in SPLITS["prompts"] else part
        if kind not in FIELDS:
            return []
        tables = self.spec.tables(kind)
        if kind == "prompts":
            tables = {"": table} if (table := self._table(kind, part)) else {}
        return [s.read for table in tables.values() for s in self._sources(table)]

    def read_demonstrations(self) -> list[tuple[str, str]]:
        """All rows."""
        found = self._rows(self.spec.demonstrations)
        return [(row.prompt(), row.text("response")) for row in found]

    def read_prompts(self, split: str) -> list[str]:
        """All of the split's own table, or those of the common one that fall in it."""
        table = self._table("prompts", split)
        if table is None:
            return []
        prompts = [row.prompt() for row in self._rows(table)]
        if not isinstance(self.spec.prompts, TableSpec):
            return prompts
        wanted = "ppo" if split == "preference" else split
        return [prompt for prompt in prompts if self._part_of(prompt) == wanted]

    def read_references(self) -> Mapping[str, str]:
        """The first of each prompt."""
        found: dict[str, str] = {}
        for row in self._rows(self.spec.references):
            found.setdefault(row.prompt(), row.text("response", empty=True))
        return found

    def _part_of(self, prompt: str) -> str:
        shares = {name: getattr(self.spec.shares, name) for name in EVALUATED}
        return part_of(prompt, shares, "ppo", self.spec.seed)

    def _table(self, kind: str, split: str) -> TableSpec | None:
        """The split's own, or the one for all; the prompts for samples may be PPO's."""
        tables = self.spec.tables(kind)
        own = tables.get(split) or tables.get("")
        return tables.get("ppo") if own is None and split == "preference" else own

    def _rows(self, table: TableSpec) -> Iterator[Fields]:
        for source in self._sources(table):
            yield from rows(source, table.columns)

    def _sources(self, table: TableSpec) -> list[Source]:
        return table.sources(self.folder, measures=self.spec.measures(table))


class _Paired(HasPairs, Jsonl):
    """With pairs."""

    def read_pairs(self, split: str) -> list[Preference]:
        """Of the split's own table; one for both is divided by prompt."""
        tables = self.spec.tables("pairs")
        if "" not in tables:
            return self._all_pairs[split] if split in tables else []
        return [pair for pair in self._all_pairs[""] if self._side(pair.prompt) == split]

    def _side(self, prompt: str) -> str:
        """Which part of the one table a prompt's pairs are in."""
        if prompt in self.evaluated:  # not trained on, and so it can measure a reward model
            return "held_out"
        share = {"held_out": self.spec.shares.held_out}
        return part_of(prompt, share, "preference", self.spec.seed)

    @cached_property
    def _all_pairs(self) -> dict[str, list[Preference]]:
        """The pairs of each table, ids and all."""
        found: dict[str, list[Preference]] = {}
        places: dict[str, str] = {}
        for split, table in self.spec.tables("pairs").items():
            counts: Counter[str] = Counter()
            pairs = []
            for row in self._rows(table):
                pair = _pair(row)
                if isinstance(pair, str):
                    counts[pair] += 1
                    continue
                first = places.setdefault(pair.id, row.where) if pair.id else row.where
                if first != row.where:
                    row.wrong("id", f"{pair.id!r} is the id of {first}, too")
                pairs.append(pair)
            found[split], counts["that come twice"] = numbered(pairs)
            self.tell(f"pairs of {split}" if split else "pairs", counts)
        return found


class _Edited(HasEdits, _Paired):
    """With pairs and edits of them."""

    def read_edits(self) -> list[Edit]:
        """All edits of a pair: by the id, or where the rows have none by prompt and original."""
        pairs = [pair for table in self._all_pairs.values() for pair in table]
        by_id = {str(pair.id): pair for pair in pairs}
        by_text: dict[str, list[Preference]] = defaultdict(list)
        for pair in pairs:
            by_text[text_id(pair.prompt, pair.rejected)].append(pair)
        found: dict[str, Edit] = {}
        strangers = 0
        assert self.spec.edits is not None
        for row in self._rows(self.spec.edits):
            edit = _edit(row)
            if edit.id is not None:
                if problem := mismatch(edit, by_id):
                    raise UserError(f"{row.where}, {problem}")
                if edit.id in found:
                    row.wrong("id", f"{edit.id!r} has an edit already")
                found[edit.id] = edit
                continue
            joined = by_text[text_id(edit.prompt, edit.original)]
            strangers += not joined
            for pair in joined:
                found.setdefault(str(pair.id), edit.model_copy(update={"id": pair.id}))
        if strangers and not found:
            raise UserError(
                f"{row.where}: none of the {strangers} edits is of a pair: without an id, their "
                "prompt and original must be a pair's prompt and rejected"
            )
        self.tell("edits", {"that are of no pair": strangers})
        return list(found.values())


class _Spanned(HasSpans, Jsonl):
    """With errors' places."""

    def read_spans(self) -> Spanned:
        """All rows."""
        assert self.spec.spans is not None
        found = {}
        for row in self._rows(self.spec.spans):
            response = row.text("response")
            found[row.prompt(), response] = row.spans(response)
        return found


def _pair(row: Fields) -> Preference | str:
    """A row's pair, of chosen and rejected or of two outputs and a verdict; or why it has none."""
    prompt, name = row.prompt(), row.id()
    if row.column("output_1") not in row.row:
        chosen, rejected = row.text("chosen"), row.text("rejected")
        margin = row.value("margin")
        if margin is not None and (type(margin) not in (int, float) or margin < 0):
            row.wrong("margin", "a number of 0 or more is needed")
    else:
        verdict = row.verdict()
        if not verdict:
            return "ties" if verdict == 0 else "without a verdict"
        outputs = [row.text("output_1"), row.text("output_2")]
        chosen, rejected = outputs if verdict < 0 else outputs[::-1]
        margin = abs(verdict) if "score" in row.columns else None
    if chosen == rejected:
        return "whose responses are equal"
    margin = None if margin is None else float(margin)
    return Preference(id=name, prompt=prompt, chosen=chosen, rejected=rejected, margin=margin)


def _edit(row: Fields) -> Edit:
    return Edit(
        id=row.id(),
        prompt=row.prompt(),
        original=row.text("original"),
        edited=row.text("edited"),
        source=row.text("source") if row.value("source") else "file",
    )
