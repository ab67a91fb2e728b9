"""Region packs: municipalities, suppliers, mandates, dialects, sites, mappings and sources of one region, as files.

A pack is checked as a whole: every mistake names file and line. What is owed when is worked out in `quality.calendar`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quality.codelists import CodeList, load_code_lists
from quality.contract import Contract, load_contracts
from quality.dialect import Dialect
from quality.sources import Misconfigured, Problem, content_hash, line_of, load_csv, load_yaml, validated

SUPPLIER_ID = r"^[a-z0-9][a-z0-9-]{2,40}$"
MAPPING_COLUMNS = ("list", "supplier", "word", "code", "valid_from", "valid_to", "mapped_by", "mapped_on")
SITE_COLUMNS = ("site_id", "kind", "name", "area_code", "valid_from", "valid_to")
FOREVER = date(9999, 12, 31)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Area(_Strict):
    """A municipality of the region. `area_code` is the 8-digit AGS, `nuts` its NUTS-3 code."""

    area_code: str = Field(pattern=r"^[0-9]{8}$")
    name: str
    land: str = Field(pattern=r"^[A-Z]{2}$")
    nuts: str | None = None


class Region(_Strict):
    """The region itself. `land` decides the public holidays of the calendar; `zone` its local time."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{1,40}$")
    name: str
    land: str = Field(pattern=r"^[A-Z]{2}$")
    zone: str = "Europe/Berlin"
    starts_on: date
    """First day for which slots are owed at all."""
    areas: Sequence[Area]


class Supplier(_Strict):
    """An organisation that delivers. `role` says what it is; persons are never named here."""

    id: str = Field(pattern=SUPPLIER_ID)
    name: str
    role: str
    area_code: str | None = None
    synthetic: bool = False


class Mandate(_Strict):
    """Which supplier owes which dataset for which areas from when until when (`valid_until` is the first day after).

    `areas` are prefixes of municipality keys: `05124000` one city, `05` a Land, an empty list every area.
    Of several `dialects` the first whose `recognise` fits the file name is taken, else the first.
    """

    supplier: str
    dataset: str
    dialects: Sequence[str] = Field(min_length=1)
    areas: Sequence[str]
    valid_from: date
    valid_until: date = FOREVER
    optional: bool = False
    """True: may deliver, owes nothing (no slot, never overdue)."""


class Source(_Strict):
    """Another system that deliveries are pulled from, on a schedule."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{2,60}$")
    supplier: str
    dataset: str
    kind: Literal["http", "folder"]
    address: str
    """HTTP address or folder path; `{home}` stands for VERBUND_HOME, `{pack}` for the pack's folder."""
    pattern: str = "*"
    every: str = "0 5 * * *"
    """Cron expression, local time of the region."""
    period: str | None = None
    """Fixed period of what is fetched; else told from the file's name."""


class _Suppliers(_Strict):
    suppliers: Sequence[Supplier]


class _Mandates(_Strict):
    mandates: Sequence[Mandate]


class _Sources(_Strict):
    sources: Sequence[Source]


@dataclass(frozen=True)
class WordMapping:
    """A supplier's local word for a code: `Sperrmüll gem.` → 200307. `supplier` is `*` for everybody."""

    code_list: str
    supplier: str
    word: str
    code: str
    valid_from: date
    valid_to: date
    mapped_by: str
    mapped_on: str


@dataclass(frozen=True)
class Site:
    """A place that rows point to: collection point, plant, metering point."""

    site_id: str
    kind: str
    name: str
    area_code: str
    valid_from: date
    valid_to: date


@dataclass(frozen=True)
class RegionPack:
    """Everything that makes Verbund a given region's, with the contracts it works under."""

    path: Path
    region: Region
    suppliers: Mapping[str, Supplier]
    mandates: Sequence[Mandate]
    dialects: Mapping[str, Dialect]
    dialect_paths: Mapping[str, Path]
    mappings: Sequence[WordMapping]
    sites: Sequence[Site]
    sources: Sequence[Source]
    contracts: Mapping[str, Contract]
    code_lists: Mapping[str, CodeList]
    files: Sequence[Path] = field(repr=False, default=())

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any byte of the pack, a contract or a code list: whoever holds a pack can see that it is old."""
        lists = [path for code_list in self.code_lists.values() for path in code_list.paths]
        return content_hash(*self.files, *(contract.path for contract in self.contracts.values()), *lists)

    @cached_property
    def mappings_fingerprint(self) -> str:
        lists = [path for code_list in self.code_lists.values() for path in code_list.paths]
        return content_hash(*(path for path in self.files if path.suffix == ".csv"), *lists)

    def dialect_fingerprint(self, dialect: Dialect) -> str:
        return content_hash(self.dialect_paths[dialect.id])

    def mandates_of(self, supplier: str, dataset: str) -> list[Mandate]:
        return [m for m in self.mandates if m.supplier == supplier and m.dataset == dataset]

    def mandate(self, supplier: str, dataset: str, start: date, end: date) -> Mandate | None:
        """The mandate in force at any day from `start` up to, not including, `end`; the latest where several are."""
        fitting = [m for m in self.mandates_of(supplier, dataset) if m.valid_from < end and start < m.valid_until]
        return max(fitting, key=lambda m: m.valid_from, default=None)

    def datasets_of(self, supplier: str) -> list[str]:
        return list(dict.fromkeys(m.dataset for m in self.mandates if m.supplier == supplier))


def load_pack(path: Path, contracts_folder: Path, code_lists_folder: Path) -> RegionPack:
    """Read a region pack and check it as a whole.

    Raises:
        Misconfigured: With every mistake in the pack, its contracts and code lists.
    """
    problems: list[Problem] = []

    def read(model: type[Any], name: str) -> Any:
        file = path / name
        try:
            data = load_yaml(file)
            raw[name] = data
            return validated(model, data, file)
        except Misconfigured as error:
            problems.extend(error.problems)
            return None

    raw: dict[str, Any] = {}
    region = read(Region, "region.yml")
    suppliers = read(_Suppliers, "suppliers.yml")
    mandates = read(_Mandates, "mandates.yml")
    sources = read(_Sources, "sources.yml") if (path / "sources.yml").exists() else _Sources(sources=[])
    dialects: dict[str, Dialect] = {}
    dialect_paths: dict[str, Path] = {}
    for file in sorted((path / "dialects").glob("*.yml")):
        name = f"dialects/{file.name}"
        if (dialect := read(Dialect, name)) is not None:
            if dialect.id in dialects:
                problems.append(Problem(file, line_of(raw[name], ["id"]), "a dialect id used once", dialect.id))
            dialects[dialect.id] = dialect
            dialect_paths[dialect.id] = file
    try:
        contracts = load_contracts(contracts_folder, path / "contracts")
        code_lists = load_code_lists(code_lists_folder, path / "codelists")
        mappings = _mappings(path)
        sites = _sites(path)
    except Misconfigured as error:
        raise Misconfigured([*problems, *error.problems]) from None
    if region is None or suppliers is None or mandates is None or sources is None:
        raise Misconfigured(problems)
    code_lists = {
        **code_lists,
        "site": CodeList.of_sites(sites, path / "sites.csv"),
        "area": CodeList.of_areas(region.areas, path / "region.yml"),
    }
    files = [p for p in sorted(path.rglob("*")) if p.is_file() and p.suffix in (".yml", ".csv")]
    by_id = {supplier.id: supplier for supplier in suppliers.suppliers}
    pack = RegionPack(
        path, region, by_id, mandates.mandates, dialects, dialect_paths,
        mappings, sites, sources.sources, contracts, code_lists, files,
    )  # fmt: skip
    problems += _references(pack, raw)
    if problems:
        raise Misconfigured(problems)
    return pack


def _references(pack: RegionPack, raw: Mapping[str, Any]) -> Iterable[Problem]:
    """Every name that points to nothing, and every promise that cannot be kept."""
    mandates_file, sources_file = pack.path / "mandates.yml", pack.path / "sources.yml"
    seen: set[str] = set()
    for index, supplier in enumerate(raw["suppliers.yml"]["suppliers"]):
        if supplier["id"] in seen:
            line = line_of(raw["suppliers.yml"], ["suppliers", index])
            yield Problem(pack.path / "suppliers.yml", line, "a supplier id used once", supplier["id"])
        seen.add(supplier["id"])
    for index, mandate in enumerate(pack.mandates):
        line = line_of(raw["mandates.yml"], ["mandates", index])
        yield from _unknown(mandates_file, line, "supplier", mandate.supplier, pack.suppliers)
        yield from _unknown(mandates_file, line, "contract", mandate.dataset, pack.contracts)
        for name in mandate.dialects:
            yield from _unknown(mandates_file, line, "dialect", name, pack.dialects)
            if name in pack.dialects and pack.dialects[name].dataset != mandate.dataset:
                yield Problem(
                    mandates_file, line, f"a dialect of {mandate.dataset}", f"{name} of {pack.dialects[name].dataset}"
                )
        if mandate.valid_until <= mandate.valid_from:
            yield Problem(
                mandates_file, line, "valid_until after valid_from", f"{mandate.valid_from}…{mandate.valid_until}"
            )
    for index, source in enumerate(pack.sources):
        line = line_of(raw["sources.yml"], ["sources", index])
        yield from _unknown(sources_file, line, "supplier", source.supplier, pack.suppliers)
        if not pack.mandates_of(source.supplier, source.dataset):
            yield Problem(
                sources_file, line, "a mandate of this supplier for this dataset", f"{source.supplier}/{source.dataset}"
            )
    for dialect in pack.dialects.values():
        yield from _dialect_references(pack, dialect, raw[f"dialects/{pack.dialect_paths[dialect.id].name}"])
    for contract in pack.contracts.values():
        for f in contract.fields:
            if f.code_list:
                yield from _unknown(contract.path, 1, "code list", f.code_list, pack.code_lists)
    for line, row in (
        load_csv(pack.path / "mappings.csv", MAPPING_COLUMNS) if (pack.path / "mappings.csv").exists() else []
    ):
        file = pack.path / "mappings.csv"
        yield from _unknown(file, line, "code list", row["list"], pack.code_lists)
        if row["supplier"] != "*":
            yield from _unknown(file, line, "supplier", row["supplier"], pack.suppliers)
        if row["list"] in pack.code_lists:
            yield from _unknown(file, line, f"code of {row['list']}", row["code"], pack.code_lists[row["list"]].codes)


def _dialect_references(pack: RegionPack, dialect: Dialect, raw: Any) -> Iterable[Problem]:
    file = pack.dialect_paths[dialect.id]
    yield from _unknown(file, line_of(raw, ["dataset"]), "contract", dialect.dataset, pack.contracts)
    contract = pack.contracts.get(dialect.dataset)
    if contract is None:
        return
    filled = set(dialect.columns)
    if dialect.pivot:
        filled |= {dialect.pivot.value, *dialect.pivot.into}
        filled |= {name for names in dialect.pivot.columns.values() for name in names}
    for name in dialect.columns:
        yield from _unknown(
            file, line_of(raw, ["columns", name]), f"field of {dialect.dataset}", name, contract.by_name
        )
    for name in filled - set(dialect.columns):
        yield from _unknown(file, line_of(raw, ["pivot"]), f"field of {dialect.dataset}", name, contract.by_name)
    for f in contract.fields:
        if f.required and f.name not in filled:
            yield Problem(file, line_of(raw, ["columns"]), f"a column for the required field {f.name}", "none")


def _unknown(file: Path, line: int, kind: str, name: str, known: Iterable[str]) -> Iterable[Problem]:
    known = sorted(known)
    if name not in known:
        listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        yield Problem(file, line, f"a known {kind} (there are: {listed})", repr(name))


def _mappings(path: Path) -> list[WordMapping]:
    file = path / "mappings.csv"
    if not file.exists():
        return []
    return [
        WordMapping(
            row["list"], row["supplier"], row["word"], row["code"],
            *_validity(file, line, row), row["mapped_by"], row["mapped_on"],
        )
        for line, row in load_csv(file, MAPPING_COLUMNS)
    ]  # fmt: skip


def _sites(path: Path) -> list[Site]:
    file = path / "sites.csv"
    if not file.exists():
        return []
    return [
        Site(row["site_id"], row["kind"], row["name"], row["area_code"], *_validity(file, line, row))
        for line, row in load_csv(file, SITE_COLUMNS)
    ]


def _validity(file: Path, line: int, row: Mapping[str, str]) -> tuple[date, date]:
    try:
        return date.fromisoformat(row["valid_from"]), date.fromisoformat(row["valid_to"])
    except ValueError as error:
        raise Misconfigured(
            [Problem(file, line, "dates like 2024-12-31 in valid_from and valid_to", str(error))]
        ) from None
