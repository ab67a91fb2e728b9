"""The pages about suppliers and regions name every word a pack may hold, and their examples are sound."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from quality.configuration import load_region
from quality.dialect import Column, Dialect, Ignore, Pivot
from quality.region import MAPPING_COLUMNS, SITE_COLUMNS, Area, Mandate, Region, Source
from quality.sources import Misconfigured
from storage.readers.base import FormatSpec
from storage.settings import Settings, project_root

DOCS = project_root() / "docs"
SUPPLIER = (DOCS / "new-supplier.md").read_text(encoding="utf-8")
REGION = (DOCS / "new-region.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.+?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading!r}"
    return found[1]


def words(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def explained(text: str) -> set[str]:
    """What the first cell of each table row names in code marks."""
    rows = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {word.split(":")[0] for row in rows for word in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize(
    ("model", "heading"),
    [
        (Dialect, "The file as a whole"),
        (FormatSpec, "`format`"),
        (Column, "An entry of `columns`"),
        (Ignore, "An entry of `ignore`"),
        (Pivot, "`pivot`: wide to long"),
        (Mandate, "4. Give the mandate: `mandates.yml`"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_word_of_a_dialect_and_a_mandate_is_explained_and_no_other(model: type[BaseModel], heading: str) -> None:
    assert explained(section(SUPPLIER, heading)) == words(model)


@pytest.mark.parametrize(
    ("model", "heading"),
    [(Region, "2. `region.yml`"), (Source, "5. `sources.yml`, where files can be fetched")],
    ids=["Region", "Source"],
)
def test_every_word_of_a_region_and_a_source_is_explained_and_no_other(model: type[BaseModel], heading: str) -> None:
    assert explained(section(REGION, heading)) == words(model)
    assert words(Area) <= set(re.findall(r"\w+", section(REGION, "2. `region.yml`")))


def test_the_example_of_a_new_supplier_is_sound_in_the_pack_it_is_written_for(tmp_path: Path) -> None:
    pack = with_example(tmp_path)
    loaded = load_region(Settings(home=tmp_path, region=str(pack)))
    assert loaded.datasets_of("remscheid-forst") == ["green_waste_intake"]
    assert "forst-monatsliste" in loaded.dialects
    assert any(mapping.word == "Astwerk" for mapping in loaded.mappings)


def test_the_example_fails_where_a_word_of_it_is_wrong(tmp_path: Path) -> None:
    """The test above would tell."""
    pack = with_example(tmp_path, wrong=("quantity: Netto", "quantitty: Netto"))
    with pytest.raises(Misconfigured, match="quantitty"):
        load_region(Settings(home=tmp_path, region=str(pack)))


def with_example(folder: Path, wrong: tuple[str, str] = ("", "")) -> Path:
    """The bergisch pack with what the page tells to add."""
    pack = Path(shutil.copytree(project_root() / "regions" / "bergisch", folder / "pack"))
    supplier, dialect, mandate = re.findall(r"```yaml\n(.+?)```", SUPPLIER, re.DOTALL)
    (pack / "dialects" / "forst.yml").write_text(dialect.replace(*wrong), encoding="utf-8")
    for name, addition in (("suppliers.yml", supplier), ("mandates.yml", mandate)):
        with (pack / name).open("a", encoding="utf-8") as file:
            file.write("\n".join(addition.splitlines()[1:]) + "\n")
    lines = re.findall(rf"```\n{','.join(MAPPING_COLUMNS)}\n(.+?)```", SUPPLIER, re.DOTALL)
    with (pack / "mappings.csv").open("a", encoding="utf-8") as file:
        file.write(lines[0])
    return pack


def test_the_example_of_a_new_region_is_a_pack(tmp_path: Path) -> None:
    region, source = re.findall(r"```yaml\n(.+?)```", REGION, re.DOTALL)
    sites = re.findall(rf"```\n({','.join(SITE_COLUMNS)}\n.+?)```", REGION, re.DOTALL)
    pack = tmp_path / "pack"
    (pack / "dialects").mkdir(parents=True)
    (pack / "region.yml").write_text(region, encoding="utf-8")
    (pack / "sources.yml").write_text(source, encoding="utf-8")
    (pack / "sites.csv").write_text(sites[0], encoding="utf-8")
    bergisch = project_root() / "regions" / "bergisch"
    for dialect in ("gv100ad-verzeichnis", "abfallbilanz-csv"):
        shutil.copy(bergisch / "dialects" / f"{dialect}.yml", pack / "dialects")
    (pack / "suppliers.yml").write_text(
        "suppliers:\n  - {id: statistik-amt, name: Amt, role: statistics office}\n"
        "  - {id: nalbach-bauhof, name: Bauhof, role: utility}\n"
    )
    (pack / "mandates.yml").write_text(
        "mandates:\n  - {supplier: statistik-amt, dataset: municipality_register, dialects: [gv100ad-verzeichnis], "
        "areas: [], valid_from: 2025-01-01}\n"
        "  - {supplier: nalbach-bauhof, dataset: waste_balance, dialects: [abfallbilanz-csv], areas: [], "
        "valid_from: 2025-01-01}\n"
    )
    loaded = load_region(Settings(home=tmp_path, region=str(pack)))
    assert loaded.region.id == "saarlouis"
    assert [site.site_id for site in loaded.sites] == ["nalbach-hof"]
    assert [source.kind for source in loaded.sources] == ["folder", "sftp", "s3"]
