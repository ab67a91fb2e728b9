"""Region packs: municipalities, suppliers, mandates, dialects, sites, mappings and sources of one region, as files.

A pack is checked as a whole: every mistake names file and line. What is owed when is worked out in `quality.calendar`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from quality.codelists import CodeList, load_code_lists, lookup_key
from quality.contract import Contract, load_contracts
from quality.contract import Field as ContractField
from quality.dialect import Dialect, known_zone
from quality.sources import Misconfigured, Problem, content_hash, dates_of, line_of, load_csv, load_yaml, validated
from quality.units import UnknownUnit, factor
from storage.objects.pattern import checked_pattern
from storage.periods import period as read_period
from storage.places import bucket_address, host_key, sftp_address
from storage.settings import CREDENTIAL_NAME
from storage.words import Word

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
    areas: Sequence[Area] = Field(min_length=1)

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        return known_zone(zone)


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
    kind: Literal["http", "folder", "s3", "sftp"]
    address: str
    """HTTP address, folder path, `s3://bucket/prefix` or `sftp://user@host:port/folder`; in a path `{home}` stands for
    VERBUND_HOME, `{pack}` for the pack's folder."""
    pattern: str = "*"
    """Which files of a folder, bucket or server; `storage.objects.pattern` says how it is read."""
    every: str = "0 5 * * *"
    """Cron expression, local time of the region."""
    period: str | None = None
    """Fixed period of what is fetched; else told from the file's name or folder."""
    credential: str | None = Field(default=None, pattern=f"^{CREDENTIAL_NAME}$")
    """Name of what lets us in at `s3` and `sftp`; the secret itself is never in a pack (`storage.settings`)."""
    host_key: str | None = None
    """The public key that the server of `sftp` must have."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^/@]+/?$")
    """Address of the object store of `s3`."""
    s3_region: str = "us-east-1"
    ca_file: str | None = None
    """Certificates to trust at `endpoint`, where an authority of one's own signed its; `{home}` and `{pack}` as above."""

    @property
    def origin(self) -> str:
        """Where the ledger says that a delivery came from."""
        return f"pull:{self.id}"

    @field_validator("every")
    @classmethod
    def _has_five_fields(cls, cron: str) -> str:
        if not re.fullmatch(r"[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}", cron):
            raise ValueError("a cron expression has five fields: minute hour day month weekday, for example 0 5 * * *")
        return cron

    @field_validator("period")
    @classmethod
    def _is_a_period(cls, text: str | None) -> str | None:
        return str(read_period(text)) if text is not None else None

    @field_validator("address")
    @classmethod
    def _fits_its_kind(cls, address: str, known: ValidationInfo) -> str:
        kind = known.data.get("kind")
        if kind == "http" and not re.match(r"https?://.", address):
            raise ValueError("a source of kind http needs an address that begins with http:// or https://")
        if kind == "s3":
            bucket_address(address)
        if kind == "sftp":
            sftp_address(address)
        return address

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        return checked_pattern(pattern)

    @field_validator("host_key")
    @classmethod
    def _is_a_host_key(cls, text: str | None) -> str | None:
        return host_key(text) if text is not None else None

    @model_validator(mode="after")
    def _says_what_its_kind_needs_and_no_more(self) -> Source:
        needed = {"s3": {"endpoint", "credential"}, "sftp": {"host_key", "credential"}}.get(self.kind, set())
        if missing := sorted(name for name in needed if getattr(self, name) is None):
            raise ValueError(f"a source of kind {self.kind} needs {' and '.join(missing)}")
        allowed = needed | ({"s3_region", "ca_file"} if self.kind == "s3" else set())
        of_kinds = {"credential", "host_key", "endpoint", "s3_region", "ca_file"}
        if foreign := sorted(self.model_fields_set & of_kinds - allowed):
            raise ValueError(f"a source of kind {self.kind} has no {' and no '.join(foreign)}")
        return self


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
class Fingerprints:
    """What a pack's files were when it was read: they may be others by the time somebody asks."""

    files: str
    """Of the pack, its contracts and code lists."""
    mappings: str
    """Of words and codes."""
    dialects: Mapping[str, str]


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
    fingerprints: Fingerprints = field(repr=False)
    words: Sequence[Word] = field(repr=False, default=())
    """Lines of the ledger about words, of each word the newest; `mappings` says the same already."""

    @property
    def files(self) -> list[Path]:
        """The files of the pack that lie there now."""
        return _files(self.path)

    @property
    def fingerprint(self) -> str:
        """Changes with any byte of the pack, a contract or a code list, and with any word: whoever holds a pack can see that it is old."""
        newest = f"-{max(word.word_id for word in self.words)}" if self.words else ""
        return f"{self.fingerprints.files}{newest}"

    @property
    def mappings_fingerprint(self) -> str:
        return self.fingerprints.mappings

    def mappings_version(self, supplier: str) -> str:
        """Which words and codes a supplier is judged by: changes with a file of them, and with a line about its own words."""
        own = [str(word.word_id) for word in self.words if word.supplier == supplier]
        if not own:
            return self.mappings_fingerprint
        return hashlib.sha256(",".join([self.mappings_fingerprint, *own]).encode()).hexdigest()[:12]

    def words_of(self, supplier: str, code_list: str) -> dict[str, str]:
        """A supplier's words of a list, as they are compared, with their codes."""
        fitting = (m for m in self.mappings if m.code_list == code_list and m.supplier in ("*", supplier))
        return {lookup_key(mapping.word): mapping.code for mapping in fitting}

    def with_words(self, lines: Sequence[Word]) -> RegionPack:
        """The pack with words that were mapped while the platform ran; they go before those of its own file.

        Args:
            lines: Of the ledger, oldest first; of each list, supplier and word the last one counts.
        """
        newest = {(line.code_list, line.supplier, lookup_key(line.word)): line for line in lines}
        kept = [m for m in self.mappings if (m.code_list, m.supplier, lookup_key(m.word)) not in newest]
        told = [
            _within_code(
                WordMapping(
                    line.code_list, line.supplier, line.word, line.code, date(1900, 1, 1), FOREVER, line.who,
                    line.at.date().isoformat(),
                ),
                self.code_lists,
            )
            for line in newest.values()
            # a code that left its list stands for nothing
            if line.code and line.code_list in self.code_lists and line.code in self.code_lists[line.code_list].codes
        ]  # fmt: skip
        return replace(self, mappings=[*kept, *told], words=tuple(newest.values()))

    @cached_property
    def shared(self) -> RegionPack:
        """The region without what the platform delivers to itself."""
        contracts = {name: contract for name, contract in self.contracts.items() if not contract.is_internal}
        mandates = [mandate for mandate in self.mandates if mandate.dataset in contracts]
        own = {m.supplier for m in self.mandates if m.dataset not in contracts} - {m.supplier for m in mandates}
        suppliers = {name: supplier for name, supplier in self.suppliers.items() if name not in own}
        return replace(self, suppliers=suppliers, mandates=mandates, contracts=contracts)

    def dialect_fingerprint(self, dialect: Dialect) -> str:
        return self.fingerprints.dialects[dialect.id]

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
    contracts: dict[str, Contract] = {}
    code_lists: dict[str, CodeList] = {}
    mappings: list[tuple[int, WordMapping]] = []
    sites: list[tuple[int, Site]] = []
    try:
        contracts = load_contracts(contracts_folder, path / "contracts")
    except Misconfigured as error:
        problems.extend(error.problems)
    try:
        code_lists = load_code_lists(code_lists_folder, path / "codelists")
    except Misconfigured as error:
        problems.extend(error.problems)
    try:
        mappings.extend(_mappings(path, problems))
    except Misconfigured as error:
        problems.extend(error.problems)
    try:
        sites.extend(_sites(path, problems))
    except Misconfigured as error:
        problems.extend(error.problems)
    # what points to a file that could not be read would only look wrong
    if problems or region is None or suppliers is None or mandates is None or sources is None:
        raise Misconfigured(problems)
    code_lists = {
        **code_lists,
        "site": CodeList.of_sites([site for _, site in sites], path / "sites.csv"),
        "area": CodeList.of_areas(region.areas, path / "region.yml"),
    }
    by_id = {supplier.id: supplier for supplier in suppliers.suppliers}
    pack = RegionPack(
        path, region, by_id, mandates.mandates, dialects, dialect_paths,
        [_within_code(mapping, code_lists) for _, mapping in mappings], [site for _, site in sites], sources.sources,
        contracts, code_lists, _fingerprints(path, contracts, code_lists, dialect_paths),
    )  # fmt: skip
    problems += _references(pack, raw)
    problems += _mapping_references(pack, mappings)
    problems += _site_references(pack, sites)
    if problems:
        raise Misconfigured(problems)
    return pack


def _files(path: Path) -> list[Path]:
    return [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix in (".yml", ".csv")]


def _fingerprints(
    path: Path, contracts: Mapping[str, Contract], code_lists: Mapping[str, CodeList], dialects: Mapping[str, Path]
) -> Fingerprints:
    files = _files(path)
    lists = [file for code_list in code_lists.values() for file in code_list.paths]
    return Fingerprints(
        content_hash(*files, *(contract.path for contract in contracts.values()), *lists),
        content_hash(*(file for file in files if file.suffix == ".csv"), *lists),
        {name: content_hash(file) for name, file in dialects.items()},
    )


def _references(pack: RegionPack, raw: Mapping[str, Any]) -> Iterable[Problem]:
    """Every name that points to nothing, and every promise that cannot be kept."""
    mandates_file, sources_file = pack.path / "mandates.yml", pack.path / "sources.yml"
    areas = [area.area_code for area in pack.region.areas]
    for index, code in enumerate(areas):
        if code in areas[:index]:
            line = line_of(raw["region.yml"], ["areas", index])
            yield Problem(pack.path / "region.yml", line, "a municipality named once", code)
    seen: set[str] = set()
    for index, supplier in enumerate(raw["suppliers.yml"]["suppliers"]):
        line = line_of(raw["suppliers.yml"], ["suppliers", index])
        if supplier["id"] in seen:
            yield Problem(pack.path / "suppliers.yml", line, "a supplier id used once", supplier["id"])
        seen.add(supplier["id"])
        if (home := supplier.get("area_code")) is not None:
            yield from _unknown(pack.path / "suppliers.yml", line, "municipality of the region", home, areas)
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
        for prefix in mandate.areas:
            if not any(code.startswith(prefix) for code in areas):
                yield Problem(mandates_file, line, f"the beginning of a key of the region ({', '.join(areas)})", prefix)
        for other in pack.mandates[:index]:
            same = (other.supplier, other.dataset) == (mandate.supplier, mandate.dataset)
            if same and other.valid_from < mandate.valid_until and mandate.valid_from < other.valid_until:
                # with two in force only the later one would be looked at, and rows of the other would look foreign
                yield Problem(mandates_file, line, "one mandate at a time for a supplier and dataset",
                              f"{mandate.supplier}/{mandate.dataset} from {mandate.valid_from} beside {other.valid_from}")  # fmt: skip
    ids = [source.id for source in pack.sources]
    for index, source in enumerate(pack.sources):
        line = line_of(raw["sources.yml"], ["sources", index])
        if source.id in ids[:index]:
            yield Problem(sources_file, line, "a source id used once", source.id)
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


def _mapping_references(pack: RegionPack, mappings: Sequence[tuple[int, WordMapping]]) -> Iterator[Problem]:
    """Words that lead nowhere, and words that lead to two codes on the same day."""
    file = pack.path / "mappings.csv"
    before: dict[tuple[str, str, str], list[WordMapping]] = {}
    for line, mapping in mappings:
        yield from _unknown(file, line, "code list", mapping.code_list, pack.code_lists)
        if mapping.supplier != "*":
            yield from _unknown(file, line, "supplier", mapping.supplier, pack.suppliers)
        if mapping.code_list in pack.code_lists:
            codes = pack.code_lists[mapping.code_list].codes
            yield from _unknown(file, line, f"code of {mapping.code_list}", mapping.code, codes)
        others = before.setdefault((mapping.code_list, mapping.supplier, lookup_key(mapping.word)), [])
        for other in others:
            if mapping.valid_from <= other.valid_to and other.valid_from <= mapping.valid_to:
                found = f"{mapping.word!r} for {other.code} and {mapping.code}"
                yield Problem(file, line, "a word that stands for one code at a time", found)
        others.append(mapping)


def _site_references(pack: RegionPack, sites: Sequence[tuple[int, Site]]) -> Iterator[Problem]:
    file, areas = pack.path / "sites.csv", {area.area_code for area in pack.region.areas}
    seen: set[str] = set()
    for line, site in sites:
        yield from _unknown(file, line, "municipality of the region", site.area_code, areas)
        if site.site_id in seen:
            yield Problem(file, line, "a site id used once", site.site_id)
        seen.add(site.site_id)


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
    for name, column in dialect.columns.items():
        if (known := contract.by_name.get(name)) is None:
            continue
        line = line_of(raw, ["columns", name])
        yield from _unit_fits(file, line, known, column.unit, column.interval)
        if column.default is not None and known.code_list is None:
            yield Problem(file, line, "a default only for a field with a code list", f"{name}: {column.default}")
        for text in (column.constant, column.default):
            yield from _code_fits(pack, dialect, file, line, known, text)
    if dialect.pivot and (value := contract.by_name.get(dialect.pivot.value)):
        yield from _unit_fits(file, line_of(raw, ["pivot"]), value, dialect.pivot.unit, dialect.pivot.interval)
        for source, texts in dialect.pivot.columns.items():
            for name, text in texts.items():
                if name in contract.by_name:
                    line = line_of(raw, ["pivot", "columns", source, name])
                    yield from _code_fits(pack, dialect, file, line, contract.by_name[name], text)


def _unit_fits(file: Path, line: int, to: ContractField, unit: str | None, interval: str | None) -> Iterator[Problem]:
    try:
        factor(unit, to.unit, interval)
    except UnknownUnit as error:
        yield Problem(file, line, f"a unit that becomes {to.unit} ({to.name})", str(error))


def _code_fits(
    pack: RegionPack, dialect: Dialect, file: Path, line: int, to: ContractField, text: str | None
) -> Iterator[Problem]:
    """A text that the dialect itself writes into a field must be a code, or a word mapped for all who use it."""
    codes = pack.code_lists.get(to.code_list or "")
    if text is None or codes is None:
        return
    users = {mandate.supplier for mandate in pack.mandates if dialect.id in mandate.dialects}
    mapped_for = {
        m.supplier for m in pack.mappings if m.code_list == to.code_list and lookup_key(m.word) == lookup_key(text)
    }
    spelled = any(lookup_key(text) in codes.variants(code) for code in codes.codes)
    if not spelled and "*" not in mapped_for and not (users and users <= mapped_for):
        near = ", ".join(codes.nearest(text, {})) or "none is near"
        yield Problem(file, line, f"a code of {to.code_list} for {to.name} (nearest: {near})", repr(text))


def _unknown(file: Path, line: int, kind: str, name: str, known: Iterable[str]) -> Iterable[Problem]:
    known = sorted(known)
    if name not in known:
        listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        yield Problem(file, line, f"a known {kind} (there are: {listed})", repr(name))


def _mappings(path: Path, problems: list[Problem]) -> Iterator[tuple[int, WordMapping]]:
    for line, row, first, last in _dated(path / "mappings.csv", MAPPING_COLUMNS, problems):
        yield line, WordMapping(row["list"], row["supplier"], row["word"], row["code"], first, last, row["mapped_by"], row["mapped_on"])  # fmt: skip


def _sites(path: Path, problems: list[Problem]) -> Iterator[tuple[int, Site]]:
    for line, row, first, last in _dated(path / "sites.csv", SITE_COLUMNS, problems):
        yield line, Site(row["site_id"], row["kind"], row["name"], row["area_code"], first, last)


def _dated(
    file: Path, columns: Sequence[str], problems: list[Problem]
) -> Iterator[tuple[int, Mapping[str, str], date, date]]:
    """The rows of a CSV of the pack that may be missing, with the days they hold for; bad days go to `problems`."""
    if not file.exists():
        return
    for line, row in load_csv(file, columns):
        try:
            first, last = dates_of(file, line, row)
        except Misconfigured as error:
            problems.extend(error.problems)
            continue
        yield line, row, first, last


def _within_code(mapping: WordMapping, code_lists: Mapping[str, CodeList]) -> WordMapping:
    """A word stands for its code no longer than the code itself holds (a site that was closed, a code that ended)."""
    code = code_lists[mapping.code_list].codes.get(mapping.code) if mapping.code_list in code_lists else None
    if code is None:
        return mapping
    return replace(
        mapping,
        valid_from=max(mapping.valid_from, code.valid_from),
        valid_to=min(mapping.valid_to, code.valid_to),
    )
