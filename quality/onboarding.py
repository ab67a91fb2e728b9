"""Bringing in a supplier: what a form says becomes files of the region pack, as one would write them by hand.

The outcome is a proposal with a diff. An engineer merges it as a patch, or somebody applies it here: checked as the command
line checks a pack, and only to the files it was made from. What a pack may say is `quality.region`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from quality.configuration import code_lists_dir, contracts_dir
from quality.contract import Contract
from quality.desk import Desk
from quality.dialect import Column, Dialect
from quality.forms import standard_dialect
from quality.receipt.files import replaced
from quality.region import SUPPLIER_ID, RegionPack, load_pack
from quality.sources import Misconfigured, Problem, load_yaml
from storage import locks
from storage.proposals import Change, Decision, Proposal, Proposals
from storage.readers import FormatSpec
from storage.readers.base import HeaderSpec
from storage.settings import Settings

#: Dialects that are made for whoever delivers in the contract's own words: our template, or a CSV of the fields' names.
#: No dialect of a pack can be called so.
TEMPLATE, PLAIN_CSV = "+template", "+csv"
LONGEST: Final = 120
#: A word that YAML reads as text and nothing else, also between brackets; everything else is put in quotes.
_PLAIN: Final = re.compile(r"[A-Za-zÄÖÜäöüß][\wÄÖÜäöüß]*(?:[ /.&()-]{1,2}[\wÄÖÜäöüß]+)*\)?", re.ASCII)
_NO_TEXT: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_PATIENCE: Final = 10.0

#: What can be wrong with what somebody says of a new supplier.
Mistake = Literal[
    "id", "id_taken", "name", "role", "person", "home", "no_area", "area", "nothing_owed", "dataset", "dialect", "day",
    "by_hand",
]  # fmt: skip
#: How a proposal stands: `there` is in the pack already, `changed` was made from files that are others now, `unsound` does
#: not pass the pack's check.
State = Literal["applied", "withdrawn", "there", "changed", "unsound", "ready"]


class Unfit(ValueError):
    """What was said makes no supplier. `mistakes` lists everything that is wrong."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(dict.fromkeys(mistakes))
        super().__init__(", ".join(self.mistakes))


class NotNow(Exception):
    """A proposal cannot be applied as things stand; nothing was written. `why` is its state, or that the folder cannot be written to."""

    def __init__(self, why: State | Literal["read_only"]) -> None:
        self.why = why
        super().__init__(why)


@dataclass(frozen=True)
class Owed:
    """A dataset that is owed from a day on. `dialect` is one of the pack, `TEMPLATE` or `PLAIN_CSV`."""

    dataset: str
    dialect: str
    valid_from: date
    optional: bool = False


@dataclass(frozen=True)
class Newcomer:
    """A supplier to be. `role` says what it is; without `areas` it delivers for every area."""

    supplier: str
    name: str
    role: str
    area_code: str | None
    areas: Sequence[str]
    owed: Sequence[Owed]
    synthetic: bool = False


@dataclass(frozen=True)
class Standing:
    """How a proposal stands, what the pack's check says against it, and whether the pack's folder can be written to."""

    state: State
    problems: Sequence[Problem] = ()
    writable: bool = False


# --- what somebody says ---


def newcomer(
    pack: RegionPack, told: Mapping[str, str], areas: Sequence[str], owed: Sequence[Mapping[str, str]]
) -> Newcomer:
    """What a form says of a supplier, looked through.

    Args:
        pack: The region as it is.
        told: `supplier`, `name`, `role`, `area_code` and, if it is not empty, `synthetic`.
        areas: Keys of municipalities; `*` for every area.
        owed: For each dataset `dataset`, `dialect` (empty: not owed), `valid_from` and, if it is not empty, `optional`.

    Raises:
        Unfit: With everything that is wrong.
    """
    wrong: list[Mistake] = []
    supplier = told.get("supplier", "").strip()
    if not re.fullmatch(SUPPLIER_ID, supplier):
        wrong.append("id")
    elif supplier in pack.suppliers:
        wrong.append("id_taken")
    name, role = (re.sub(" +", " ", told.get(part, "").strip()) for part in ("name", "role"))
    if not _is_a_line(name):
        wrong.append("name")
    if not _is_a_line(role):
        wrong.append("role")
    if "@" in name + role:
        wrong.append("person")
    known = {area.area_code for area in pack.region.areas}
    home = told.get("area_code", "") or None
    if home is not None and home not in known:
        wrong.append("home")
    if not areas:
        wrong.append("no_area")
    elif not set(areas) - {"*"} <= known:
        wrong.append("area")
    found = [one for line in owed if line.get("dialect") for one in _owed(pack, line, wrong)]
    if not any(line.get("dialect") for line in owed):
        wrong.append("nothing_owed")
    if wrong:
        raise Unfit(wrong)
    within = () if "*" in areas else tuple(area.area_code for area in pack.region.areas if area.area_code in areas)
    return Newcomer(supplier, name, role, home, within, tuple(found), synthetic=bool(told.get("synthetic")))


def _is_a_line(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isprintable()


def _owed(pack: RegionPack, line: Mapping[str, str], wrong: list[Mistake]) -> Iterator[Owed]:
    dataset, dialect = line["dataset"], line["dialect"]
    if dataset not in pack.shared.contracts:
        wrong.append("dataset")
        return
    if dialect not in (TEMPLATE, PLAIN_CSV) and dialect not in dialects_for(pack, dataset):
        wrong.append("dialect")
        return
    try:
        day = date.fromisoformat(line.get("valid_from", ""))
    except ValueError:
        wrong.append("day")
        return
    # a year of two digits is a slip of the hand
    if not 1990 <= day.year <= 2100:
        wrong.append("day")
        return
    yield Owed(dataset, dialect, day, bool(line.get("optional")))


def dialects_for(pack: RegionPack, dataset: str) -> list[str]:
    """Dialects of the pack that read a dataset."""
    return sorted(name for name, dialect in pack.dialects.items() if dialect.dataset == dataset)


# --- the files ---


def propose(desk: Desk, proposals: Proposals, wanted: Newcomer, *, who: str, author: str) -> Proposal:
    """Keep the files that bring a supplier in, as a proposal; nothing is written into the pack.

    Raises:
        Unfit: A file of the pack is written so that only a person can go on with it.
    """
    files, mandates = _files(desk.settings.region_dir, desk.pack, wanted)
    says = {"supplier": _entry(wanted), "mandates": mandates}
    return proposals.add(desk.pack.region.id, wanted.supplier, says, files, who=who, author=author)


def _files(folder: Path, pack: RegionPack, wanted: Newcomer) -> tuple[list[Change], list[dict[str, Any]]]:
    changes: list[Change] = []
    mandates: list[dict[str, Any]] = []
    for owed in wanted.owed:
        dialect, made = _dialect(folder, pack, owed)
        if made is not None:
            changes.append(made)
        mandate: dict[str, Any] = {
            "supplier": wanted.supplier, "dataset": owed.dataset, "dialects": [dialect], "areas": list(wanted.areas),
            "valid_from": owed.valid_from.isoformat(),
        }  # fmt: skip
        mandates.append(mandate | ({"optional": True} if owed.optional else {}))
    # in this order each file is sound with those before it, so that whoever reads in between reads a sound pack
    changes.append(_longer(folder, "suppliers", [_entry(wanted)]))
    changes.append(_longer(folder, "mandates", mandates, above=wanted.name))
    return changes, mandates


def _entry(wanted: Newcomer) -> dict[str, Any]:
    told: dict[str, Any] = {"id": wanted.supplier, "name": wanted.name, "role": wanted.role}
    if wanted.area_code:
        told["area_code"] = wanted.area_code
    return told | ({"synthetic": True} if wanted.synthetic else {})


def _dialect(folder: Path, pack: RegionPack, owed: Owed) -> tuple[str, Change | None]:
    """The dialect's id, and its file where it is a new one."""
    if owed.dialect not in (TEMPLATE, PLAIN_CSV):
        return owed.dialect, None
    contract = pack.contracts[owed.dataset]
    for dialect in _candidates(contract, owed.dialect):
        known, place = pack.dialects.get(dialect.id), f"dialects/{dialect.id}.yml"
        if known is not None and _reads_as(known) == _reads_as(dialect):
            return dialect.id, None
        if known is None and not (folder / place).exists():
            return dialect.id, Change(place, None, _dialect_text(dialect))
    raise AssertionError("there is always another name")


def _reads_as(dialect: Dialect) -> dict[str, Any]:
    return dialect.model_dump(mode="json", exclude={"note"})


def _candidates(contract: Contract, kind: str) -> Iterator[Dialect]:
    """A dialect in the contract's own words, under one name after the other."""
    base = contract.dataset.replace("_", "-") + ("-vorlage" if kind == TEMPLATE else "-csv")
    number = 1
    while True:
        made = standard_dialect(contract, base if number == 1 else f"{base}-{number}")
        if kind == PLAIN_CSV:
            spec = FormatSpec(type="csv", encoding="utf-8", delimiter=";", header=HeaderSpec(row=1))
            columns = {f.name: Column.model_validate({"from": f.name}) for f in contract.fields}
            note = "The contract's own names of columns, as CSV."
            made = made.model_copy(update={"format": spec, "columns": columns, "note": note})
        yield made
        number += 1


def _dialect_text(dialect: Dialect) -> str:
    spec, header = dialect.format, dialect.format.header
    layout = [f"type: {spec.type}"]
    layout += [f"sheet: {scalar(spec.sheet)}"] if spec.sheet else []
    layout += [f"encoding: {spec.encoding}"] if spec.encoding else []
    layout += [f"delimiter: {_quoted(spec.delimiter)}"] if spec.delimiter else []
    lines = [
        f"id: {scalar(dialect.id)}",
        f"dataset: {dialect.dataset}",
        f"note: {scalar(dialect.note)}",
        f"format: {{{', '.join(layout)}, header: {{row: {header.row}}}}}",
        f"decimal: {_quoted(dialect.decimal)}",
        *([f"thousands: {_quoted(dialect.thousands)}"] if dialect.thousands else []),
        f'"null": {_listed(dialect.null)}',
        f"dates: {_listed(dialect.dates)}",
        "columns:",
        *(f"  {name}: {scalar(' '.join(column.sources))}" for name, column in dialect.columns.items()),
    ]
    return "\n".join(lines) + "\n"


def scalar(text: str) -> str:
    """A text as YAML: plain where it can be nothing else, in quotes otherwise."""
    return text if _PLAIN.fullmatch(text) and text.casefold() not in _NO_TEXT else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(_quoted(text) for text in texts)}]"


def _line(entry: Mapping[str, Any]) -> str:
    """An entry of a list on one line, as the packs have it."""
    return f"{{{', '.join(f'{key}: {_value(key, value)}' for key, value in entry.items())}}}"


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true"
    if key == "valid_from":
        return str(value)
    if isinstance(value, list):
        # keys of municipalities would be read as numbers; dialects are words
        return _listed(value) if key == "areas" else f"[{', '.join(scalar(text) for text in value)}]"
    return scalar(value)


def _longer(folder: Path, name: str, entries: Sequence[Mapping[str, Any]], *, above: str = "") -> Change:
    """A file of the pack with entries at the end of its list; everything else in it stays as it was written.

    Raises:
        Unfit: Its list is written so that a line more does not fit.
    """
    place = f"{name}.yml"
    before = (folder / place).read_bytes().decode("utf-8")
    after = _with_lines(before, name, [_line(entry) for entry in entries], above)
    if after is None or not _says_more(before, after, name, entries):
        raise Unfit(["by_hand"])
    return Change(place, before, after)


def _with_lines(text: str, key: str, lines: Sequence[str], above: str) -> str | None:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    if not isinstance(root, yaml.MappingNode):
        return None
    found = [value for name, value in root.value if name.value == key and isinstance(value, yaml.SequenceNode)]
    if len(found) != 1:
        return None
    [items] = found
    ending = "\r\n" if "\r\n" in text else "\n"
    told = [*([f"# {above}"] if above else []), *(f"- {line}" for line in lines)]
    if not items.value:
        # `suppliers: []`
        start, end = items.start_mark.index, items.end_mark.index
        return text[:start].rstrip(" ") + "".join(f"{ending}  {line}" for line in told) + text[end:]
    if items.flow_style:
        return None
    indent = " " * items.start_mark.column
    place = len(text[: _end_of(items.value[-1])].rstrip())
    rest = text.find("\n", place)
    head, tail = (text[: rest + 1], text[rest + 1 :]) if rest >= 0 else (text + ending, "")
    return head + "".join(f"{indent}{line}{ending}" for line in told) + tail


def _end_of(node: yaml.Node) -> int:
    """Where the last thing of a node ends; what is written as a block says that it ends where the next one begins."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _says_more(before: str, after: str, key: str, entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the new text says what the old one said and these entries, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        read = []
        for name, text in (("before.yml", before), ("after.yml", after)):
            file = Path(folder) / name
            file.write_bytes(text.encode("utf-8"))
            try:
                read.append(load_yaml(file))
            except Misconfigured:
                return False
    old, new = read
    expected = {**old, key: [*old[key], *(_read_as(entry) for entry in entries)]}
    return bool(new == expected)


def _read_as(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: date.fromisoformat(value) if key == "valid_from" else value for key, value in entry.items()}


# --- the proposal ---


def patch(proposal: Proposal) -> str:
    """The proposal as `git apply` and `patch -p1` take it in the pack's folder."""
    return "".join(diff(change) for change in proposal.files)


def diff(change: Change) -> str:
    """The difference of one file, unified."""
    old, new = ("a/" + change.place if change.before is not None else "/dev/null"), "b/" + change.place
    lines = difflib.unified_diff(_lines(change.before or ""), _lines(change.after), old, new)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    # other marks that Python takes for the end of a line are none to git
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def standing(desk: Desk, proposal: Proposal) -> Standing:
    """How a proposal stands now."""
    if proposal.decision is not None:
        return Standing(proposal.decision)
    folder = desk.settings.region_dir
    states = {_look(folder, change) for change in proposal.files}
    if states == {"after"} or _is_there(desk, proposal):
        return Standing("there")
    if "other" in states:
        return Standing("changed")
    return _checked(folder, proposal)


def _look(folder: Path, change: Change) -> Literal["before", "after", "other"]:
    file = folder / change.place
    now = file.read_bytes() if file.is_file() else None
    if now == change.after.encode("utf-8"):
        return "after"
    return "before" if now == (None if change.before is None else change.before.encode("utf-8")) else "other"


def _is_there(desk: Desk, proposal: Proposal) -> bool:
    """Whether the pack, by whatever way, says by now what the proposal says."""
    try:
        pack = desk.pack
    except Misconfigured:
        return False
    owed = {mandate["dataset"] for mandate in proposal.says["mandates"]}
    return proposal.supplier in pack.suppliers and owed <= set(pack.datasets_of(proposal.supplier))


def _checked(folder: Path, proposal: Proposal) -> Standing:
    """The check of the whole pack as it would be, the same that `verbund region check` makes."""
    with _as_it_would_be(folder, proposal) as copy:
        try:
            load_pack(copy, contracts_dir(), code_lists_dir())
        except Misconfigured as error:
            placed = [
                replace(one, file=one.file.relative_to(copy) if one.file.is_relative_to(copy) else Path(one.file.name))
                for one in error.problems
            ]
            return Standing("unsound", placed, _writable(folder, proposal))
    return Standing("ready", (), _writable(folder, proposal))


@contextmanager
def _as_it_would_be(folder: Path, proposal: Proposal) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pack-") as temporary:
        copy = Path(temporary) / folder.name
        for file in folder.rglob("*"):
            if file.suffix in (".yml", ".csv") and file.is_file():
                to = copy / file.relative_to(folder)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, to)
        for change in proposal.files:
            to = copy / change.place
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(change.after.encode("utf-8"))
        yield copy


def _writable(folder: Path, proposal: Proposal) -> bool:
    """Whether the files can be put in their places; what is a link there is kept somewhere else, and changed there."""
    for change in proposal.files:
        file = folder / change.place
        parent = file.parent if file.parent.exists() else folder
        if file.is_symlink() or file.parent.is_symlink() or not os.access(parent, os.W_OK | os.X_OK):
            return False
    return True


def apply(desk: Desk, proposals: Proposals, proposal: Proposal, *, who: str) -> Decision:
    """Write the files of a proposal, each in one step; judges and portal read the pack again by themselves.

    Broken off in the middle, the pack is sound, and whoever applies again goes on.

    Raises:
        NotNow: Nothing was written, and why.
        Busy: Somebody else is changing the pack.
    """
    settings: Settings = desk.settings
    with locks.holding(settings, "region", timeout=_PATIENCE):
        now = standing(desk, proposals.get(proposal.proposal_id) or proposal)
        if now.state == "ready":
            if not now.writable:
                raise NotNow("read_only")
            for change in proposal.files:
                _put(settings.region_dir / change.place, change.after)
        elif now.state != "there":
            raise NotNow(now.state)
        if not proposals.decide(proposal.proposal_id, "applied", who=who):
            raise NotNow("applied")
    return "applied"


def _put(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    with replaced(file) as temporary:
        with temporary.open("wb") as opened:
            opened.write(text.encode("utf-8"))
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            shutil.copymode(file, temporary)


def withdraw(proposals: Proposals, proposal: Proposal, *, who: str) -> None:
    """Take a proposal back.

    Raises:
        NotNow: Somebody decided on it before.
    """
    if not proposals.decide(proposal.proposal_id, "withdrawn", who=who):
        raise NotNow("withdrawn")
