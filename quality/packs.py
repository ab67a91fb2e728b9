"""Region packs on their way: a new one to begin with, one packed into a file, and one taken in from a file.

What a pack says is `quality.region`. A file that comes from elsewhere is hostile until it is proven: nothing in it
decides where something is written, and it becomes a pack only when it is sound as a whole.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yaml.tokens import (
    AliasToken,
    BlockEndToken,
    BlockMappingStartToken,
    BlockSequenceStartToken,
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
)

from quality.configuration import code_lists_dir, contracts_dir
from quality.contract import Contract
from quality.errors import Refused
from quality.forms import standard_dialect
from quality.receipt.files import replaced
from quality.region import MAPPING_COLUMNS, SITE_COLUMNS, RegionPack, load_pack
from quality.sources import Misconfigured, Problem
from storage import clock

#: Name of the format in the manifest; a change that older readers would misread gets a new number.
FORMAT: Final = "verbund-region-pack/1"
MANIFEST: Final = "manifest.json"
REGION_ID: Final = re.compile(r"[a-z][a-z0-9-]{1,40}")
#: What belongs to a pack. Everything else in its folder (state, keys, drafts) stays at home and is refused on the way in.
BELONGS: Final = re.compile(
    r"(region|suppliers|mandates|sources)\.yml|(mappings|sites)\.csv|README\.md|LICENSE"
    r"|dialects/[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}\.yml|contracts/[a-z][a-z0-9_]{0,80}\.odcs\.yml"
    r"|codelists/(lists\.yml|[a-z][a-z0-9_]{0,80}\.csv)"
)
#: Limits of a file that is taken in: packs of real regions hold some fifty files of a few kilobytes.
MAX_BYTES: Final = 20 * 1024**2
MAX_FILES: Final = 2_000
MAX_FILE_BYTES: Final = 10 * 1024**2
MAX_UNPACKED_BYTES: Final = 50 * 1024**2
#: YAML of all files together, and how deep one may go: reading it takes about ten seconds a megabyte.
MAX_YAML_BYTES: Final = 4 * 1024**2
MAX_DEPTH: Final = 50
_OPENING: Final = (BlockMappingStartToken, BlockSequenceStartToken, FlowMappingStartToken, FlowSequenceStartToken)
_CLOSING: Final = (BlockEndToken, FlowMappingEndToken, FlowSequenceEndToken)
#: Parts of a query string that carry what opens a door.
_SECRETS: Final = re.compile(r"(?i)(token|key|passw|secret|signature|sig$|auth|credential)")
#: A time that is the same in every export, so that the same pack gives the same bytes.
_WRITTEN_AT: Final = (2000, 1, 1, 0, 0, 0)


class UnsafePack(Refused):
    """A file that is no region pack, or one that nobody should unpack."""


class _ManifestFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=MAX_FILE_BYTES)


class _ManifestContract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    fingerprint: str
    in_pack: bool


class Manifest(BaseModel):
    """What a packed region says of itself: its files with their sha256, and the contracts it was sound with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    verbund: str
    region: str = Field(pattern=rf"^{REGION_ID.pattern}$")
    name: str
    files: Mapping[str, _ManifestFile]
    contracts: Mapping[str, _ManifestContract]


@dataclass(frozen=True)
class Exported:
    """A pack in a file. `left_out` are files of the folder that belong to no pack."""

    path: Path
    sha256: str
    manifest: Manifest
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """A pack that was taken in. `differs` names contracts whose version is another here than where it was packed."""

    path: Path
    pack: RegionPack
    differs: tuple[str, ...]


# --- a new pack ---


def new_pack(name: str, to: Path, *, dataset: str | None = None) -> RegionPack:
    """Write a small pack that is sound at once, with a comment on everything that can be said in it.

    Args:
        name: The region's id; small letters, digits and dashes.
        to: Folder to make; it must not exist, or be empty.
        dataset: What the example supplier owes; default the first by name.

    Raises:
        Refused: The name cannot be an id, there is no such dataset, or the folder holds something.
    """
    if not REGION_ID.fullmatch(name):
        raise Refused("a name of 2 to 41 small letters, digits and dashes that begins with a letter", repr(name))
    _must_be_free(to)
    contracts = _shared_contracts()
    chosen = dataset or min(contracts)
    if chosen not in contracts:
        raise Refused(f"a dataset ({', '.join(sorted(contracts))})", chosen)
    contract = contracts[chosen]
    with _appearing(to) as folder:
        for place, text in _skeleton(name, contract).items():
            file = folder / place
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        load_pack(folder, contracts_dir(), code_lists_dir())
    return load_pack(to, contracts_dir(), code_lists_dir())


def _shared_contracts() -> dict[str, Contract]:
    from quality.contract import load_contracts

    return load_contracts(contracts_dir())


def _skeleton(name: str, contract: Contract) -> dict[str, str]:
    dialect = standard_dialect(contract, f"{contract.dataset.replace('_', '-')}-vorlage")
    header = dialect.format.header
    columns = "\n".join(f"  {f}: {_quoted(' '.join(spec.sources))}" for f, spec in dialect.columns.items())
    words = {
        "id": name, "name": name.replace("-", " ").title(), "year": str(clock.now().year), "dataset": contract.dataset,
        "title": contract.title.get("en", contract.dataset), "dialect": dialect.id, "sheet": str(dialect.format.sheet),
        "row": str(header.row), "columns": columns, "mapping_columns": ",".join(MAPPING_COLUMNS),
        "site_columns": ",".join(SITE_COLUMNS),
    }  # fmt: skip
    return {place: Template(text).substitute(words) for place, text in _TEXTS.items()} | {
        f"dialects/{dialect.id}.yml": Template(_DIALECT).substitute(words)
    }


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# --- packing ---


def export_pack(pack: RegionPack, to: Path) -> Exported:
    """Pack a region into one file: the pack's own files and a manifest; no state, no secrets.

    Raises:
        Refused: The file exists already, or an address in the pack carries a password or a token.
    """
    if to.exists():
        raise Refused("a file name that is still free", str(to))
    if secrets := list(_secrets(pack)):
        raise Refused("addresses without passwords and tokens", "; ".join(secrets))
    files: dict[str, bytes] = {}
    left_out: list[str] = []
    for path in sorted(pack.path.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        place = path.relative_to(pack.path).as_posix()
        if path.is_symlink() or not BELONGS.fullmatch(place):
            left_out.append(place)
        else:
            files[place] = path.read_bytes()
    manifest = Manifest(
        format=FORMAT,
        verbund=_version(),
        region=pack.region.id,
        name=pack.region.name,
        files={
            place: _ManifestFile(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            for place, content in files.items()
        },
        contracts={
            c.dataset: _ManifestContract(
                version=c.version, fingerprint=c.fingerprint, in_pack=c.path.is_relative_to(pack.path)
            )
            for c in pack.contracts.values()
        },
    )
    with replaced(to) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            text = json.dumps(manifest.model_dump(), ensure_ascii=False, indent=2, sort_keys=True)
            for place, content in {MANIFEST: text.encode(), **files}.items():
                entry = zipfile.ZipInfo(place, _WRITTEN_AT)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, content)
        sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
    return Exported(to, sha256, manifest, tuple(left_out))


def _secrets(pack: RegionPack) -> Iterator[str]:
    for source in pack.sources:
        if source.kind != "http":
            continue
        address = urlsplit(source.address)
        named = [name for name, _ in parse_qsl(address.query, keep_blank_values=True) if _SECRETS.search(name)]
        if address.username or address.password or named:
            # the address itself is not repeated: it would put the secret into a log
            yield f"source {source.id} in sources.yml"


def _version() -> str:
    try:
        return metadata.version("verbund")
    except metadata.PackageNotFoundError:
        return "unknown"


# --- taking in ---


def import_pack(file: Path, to: Path | None, regions: Path) -> Imported:
    """Take in a packed region: unpacked apart, compared with its manifest, checked as a whole, then put in its place.

    Args:
        file: What `export_pack` wrote, from wherever it comes.
        to: Folder to make; default the region's id under `regions`.
        regions: Folder of region packs.

    Raises:
        UnsafePack: The file is no such pack, is larger than any pack, or says something else than its manifest.
        Refused: The folder holds something already.
        Misconfigured: The pack has mistakes; places are named as they lie in the file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"expected a packed region, found nothing at {file}")
    contents, manifest = _unpacked(file)
    target = to or regions / manifest.region
    _must_be_free(target)
    with _appearing(target) as folder:
        for place, content in contents.items():
            path = folder / place
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        try:
            pack = load_pack(folder, contracts_dir(), code_lists_dir())
        except Misconfigured as error:
            raise Misconfigured([_placed(problem, folder, file) for problem in error.problems]) from None
        except (yaml.YAMLError, csv.Error, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
            # whatever reading makes of files that no person wrote
            raise UnsafePack("files that can be read", f"{type(error).__name__}: {error}") from error
        if pack.region.id != manifest.region:
            raise UnsafePack(f"the region {manifest.region} of the manifest", f"{pack.region.id} in region.yml")
    pack = load_pack(target, contracts_dir(), code_lists_dir())
    return Imported(target, pack, tuple(_differences(manifest, pack)))


def _unpacked(file: Path) -> tuple[dict[str, bytes], Manifest]:
    """The files of a pack by their place in it, each as its manifest says."""
    if file.stat().st_size > MAX_BYTES:
        raise UnsafePack(f"at most {MAX_BYTES // 1024**2} MiB", f"{file.stat().st_size // 1024**2} MiB")
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in _sound_entries(archive):
                with archive.open(entry) as packed:
                    # never more than was announced, whatever the archive holds
                    content = packed.read(entry.file_size + 1)
                if len(content) != entry.file_size:
                    raise UnsafePack(f"{entry.file_size} bytes in {entry.filename}", "another number")
                contents[entry.filename] = content
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UnsafePack("a packed region (ZIP)", f"{type(error).__name__}: {error}") from error
    manifest = _manifest(contents.pop(MANIFEST, None))
    if set(contents) != set(manifest.files):
        odd = ", ".join(sorted(set(contents) ^ set(manifest.files))[:5])
        raise UnsafePack("exactly the files the manifest lists", f"a difference in {odd}")
    for place, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest.files[place].sha256:
            raise UnsafePack(f"the bytes of {place} that the manifest lists", "other bytes")
        if place.endswith(".yml"):
            _refuse_bombs(place, content)
    return contents, manifest


def _sound_entries(archive: zipfile.ZipFile) -> Sequence[zipfile.ZipInfo]:
    """The entries of an archive, after a look at everything it says of itself."""
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise UnsafePack(f"at most {MAX_FILES} files", str(len(entries)))
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        # a closed list of places: `..`, roots, drives and back-slashes are on none of them
        if name != MANIFEST and not BELONGS.fullmatch(name):
            raise UnsafePack("only files that belong to a region pack", repr(name[:120]))
        if name.casefold() in seen:
            raise UnsafePack("every file once", repr(name))
        seen.add(name.casefold())
        if kind not in (0, stat.S_IFREG):
            raise UnsafePack("plain files", f"a link or a device: {name}")
        if entry.flag_bits & 1:
            raise UnsafePack("files without a password", name)
        if entry.file_size > MAX_FILE_BYTES:
            raise UnsafePack(
                f"files of at most {MAX_FILE_BYTES // 1024**2} MiB", f"{name} with {entry.file_size} bytes"
            )
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise UnsafePack(f"at most {MAX_UNPACKED_BYTES // 1024**2} MiB unpacked", "more")
    if sum(entry.file_size for entry in entries if entry.filename.endswith(".yml")) > MAX_YAML_BYTES:
        raise UnsafePack(f"at most {MAX_YAML_BYTES // 1024**2} MiB of YAML", "more")
    return entries


def _manifest(content: bytes | None) -> Manifest:
    if content is None:
        raise UnsafePack(f"a file {MANIFEST}, as `verbund region export` writes it", "none")
    try:
        said: Any = json.loads(content)
        if isinstance(said, dict) and said.get("format") != FORMAT:
            raise UnsafePack(f"the format {FORMAT}", repr(said.get("format"))[:80])
        return Manifest.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnsafePack("a sound manifest", f"`{where}`: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        raise UnsafePack("a manifest in JSON", str(error)[:120]) from None


def _refuse_bombs(place: str, content: bytes) -> None:
    """Aliases of a few lines can stand for gigabytes, and the time for nested brackets grows with the square of their depth."""
    depth = 0
    try:
        for token in yaml.scan(content.decode("utf-8"), yaml.CSafeLoader):
            line = token.start_mark.line + 1
            if isinstance(token, AliasToken):
                raise UnsafePack("YAML without aliases", f"an alias at {place}:{line}")
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > MAX_DEPTH:
                raise UnsafePack(f"YAML of at most {MAX_DEPTH} levels", f"more at {place}:{line}")
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        # what is no YAML gets its file and line from the check of the whole


def _placed(problem: Problem, folder: Path, file: Path) -> Problem:
    """A mistake in an unpacked file, named by its place in the packed one."""
    if not problem.file.is_relative_to(folder):
        return problem
    return Problem(file / problem.file.relative_to(folder), problem.line, problem.expected, problem.found)


def _differences(manifest: Manifest, pack: RegionPack) -> Iterator[str]:
    for dataset, said in sorted(manifest.contracts.items()):
        here = pack.contracts.get(dataset)
        if here is None:
            yield f"{dataset}: {said.version} there, no contract here"
        elif (here.version, here.fingerprint) != (said.version, said.fingerprint):
            same = " (other text)" if here.version == said.version else ""
            yield f"{dataset}: {said.version} there, {here.version} here{same}"


def _must_be_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused("a folder that is new or empty", str(folder))


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to fill that takes its place in one step when the block ends well, and vanishes otherwise."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield folder
        # a temporary folder is its maker's alone; a pack is read by the judge and by people
        folder.chmod(0o755)
        folder.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- the texts of a new pack ---

_TEXTS: Final[Mapping[str, str]] = {
    "region.yml": """\
# The region itself. Everything else that makes it is in the files beside this one.
# After every change: verbund region check --region <this folder>

# Small letters, digits and dashes; stands in keys and reports and should never change.
id: $id
name: $name
# Two letters of the Land; decides the public holidays in deadlines counted in working days.
land: NW
# Local time of the region.
zone: Europe/Berlin
# First day for which anything is owed.
starts_on: $year-01-01
# The municipalities: official key (AGS, 8 digits, in quotes because of the leading zero), name, Land, and the NUTS-3
# code where it is known (nuts: DEA1A). The example is no real municipality; replace it.
areas:
  - {area_code: "05000000", name: Musterstadt, land: NW}
""",
    "suppliers.yml": """\
# Who delivers. Ids: 3 to 41 small letters, digits and dashes; they name folders and accounts and should never change.
# Name organisations or roles here, never persons. `area_code` says whose organisation it is and may be left out.
# `synthetic: true` marks a supplier whose figures are invented; everything it delivers is shown as synthetic.
suppliers:
  - {id: muster-betrieb, name: Betriebshof Musterstadt, role: municipal utility, area_code: "05000000", synthetic: true}
""",
    "mandates.yml": """\
# Who owes what, for which areas, from when until when. One line a supplier, dataset and interval of time.
#   dataset      as in the contracts (verbund contract lint lists them)
#   dialects     how the supplier's files look, see dialects/; of several the first that recognises the file's name is taken
#   areas        beginnings of municipality keys; [] means every area. Rows outside are held back.
#   valid_from   first day, valid_until the first day after (left out: until further notice)
#   optional     true: may deliver, owes nothing, is never overdue
mandates:
  # $title
  - {supplier: muster-betrieb, dataset: $dataset, dialects: [$dialect], areas: ["05000000"], valid_from: $year-01-01}
  # after a hand-over the old mandate ends where the new one begins:
  # - {supplier: other-utility, dataset: $dataset, dialects: [$dialect], areas: ["05000000"], valid_from: 2030-07-01}
""",
    "mappings.csv": """\
# Local words and the codes they stand for: who mapped them, when, and for which days (both included).
# list: a code list of a contract, or `area` and `site`. supplier: an id, or * for everybody. A # begins a comment.
$mapping_columns
area,*,Musterstadt,05000000,1900-01-01,9999-12-31,coordination,$year-01-01
site,muster-betrieb,Hof,musterstadt-hof,1900-01-01,9999-12-31,coordination,$year-01-01
""",
    "sites.csv": """\
# Places that rows point to: collection points, plants, metering points. valid_to is the last day.
$site_columns
musterstadt-hof,collection_point,Betriebshof Musterstadt,05000000,2000-01-01,9999-12-31
""",
    "sources.yml": """\
# Other systems that deliveries are pulled from, on a schedule (cron, local time). What is caught enters like any other
# delivery. Write no passwords and tokens here: this file is exported with the pack.
sources: []
# - id: muster_export
#   supplier: muster-betrieb
#   dataset: $dataset
#   kind: folder                               # or http, s3, sftp: docs/new-region.md
#   address: "{home}/sources/muster-betrieb"   # {home} stands for VERBUND_HOME, {pack} for this folder
#   pattern: "*.xlsx"
#   every: "0 5 * * *"
""",
}

_DIALECT: Final = """\
# How one supplier's file of a dataset looks. Many suppliers may share one; a new supplier is a new file like this.
# This one reads the contract's own template: verbund template $dataset
id: $dialect
dataset: $dataset
note: The contract's own template, filled in by hand.
# Pattern of the file's name, to tell dataset and period of a file in an inbox; left out: told by the folder.
# recognise: {file_name: '(?i).*muster.*?(?P<period>20\\d\\d-\\d\\d).*'}
# type: csv, xlsx, mscons or fixed_width. csv also takes encoding (cp1252, utf-8) and delimiter (";").
# header: row of the column names, and over how many rows they go (rows: 2). stop_at: where footnotes begin.
format: {type: xlsx, sheet: $sheet, header: {row: $row}}
# Marks of numbers, symbols that mean "not stated", and how days are written.
decimal: ","
thousands: "."
"null": ["-", "k.A."]
dates: ["%d.%m.%Y", "%Y-%m-%d"]
# Rows that are left out and counted, for example totals:
# ignore:
#   - {id: total, column: Stelle, matches: '^Summe', because: {de: Summenzeilen zählen nicht., en: Totals do not count.}}
# Field of the contract: the supplier's column. Instead of a column also {constant: "05000000"}, {period: true},
# {file_name: '...'}; with a unit {from: "Menge [kg]", unit: kg}; a default for empty cells of a code list {default: ...}.
columns:
$columns
"""
