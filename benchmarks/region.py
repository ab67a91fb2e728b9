"""The region and the homes that are measured in: a folder of its own for each, taken away afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

from storage.settings import Settings, project_root

PACK = Path(__file__).parent / "pack"
METERS = "bench-meters"
#: The dataset of quarter hours as it is, and the same promise with a year for a slot: one file of 10 million rows.
LOAD_PROFILE, LOAD_PROFILE_YEAR = "load_profile", "load_profile_year"
SMALL = "green_waste_intake"


def depot(nth: int) -> str:
    """Id of a supplier of small monthly files, counted from 1."""
    return f"bench-depot-{nth:03d}"


def write_region(folder: Path, depots: int) -> Path:
    """Write a region with this many suppliers of small files, each with a municipality of its own."""
    shutil.copytree(PACK, folder)
    contracts = folder / "contracts"
    contracts.mkdir()
    monthly = (project_root() / "quality" / "contracts" / f"{LOAD_PROFILE}.odcs.yml").read_text(encoding="utf-8")
    yearly = monthly.replace(f"id: {LOAD_PROFILE}\n", f"id: {LOAD_PROFILE_YEAR}\n", 1)
    yearly = yearly.replace('value: "monthly"', 'value: "yearly"', 1).replace(
        f"- name: {LOAD_PROFILE}\n", f"- name: {LOAD_PROFILE_YEAR}\n", 1
    )
    (contracts / f"{LOAD_PROFILE_YEAR}.odcs.yml").write_text(yearly, encoding="utf-8")
    suppliers = [f"  - {{id: {METERS}, name: Messstellenbetrieb, role: metering operator, synthetic: true}}"]
    mandates = [
        f"  - {{supplier: {METERS}, dataset: {dataset}, dialects: [{dialect}], areas: [], valid_from: 1900-01-01}}"
        for dataset, dialect in ((LOAD_PROFILE, "bench-lastgang"), (LOAD_PROFILE_YEAR, "bench-lastgang-year"))
    ]
    areas, sites = [], ["site_id,kind,name,area_code,valid_from,valid_to"]
    for nth in range(1, depots + 1):
        areas.append(f"  - {{area_code: '{area(nth)}', name: Messort {nth}, land: NW, nuts: DEA1A}}")
        suppliers.append(f"  - {{id: {depot(nth)}, name: Bauhof {nth}, role: municipal depot, synthetic: true}}")
        mandates.append(
            f"  - {{supplier: {depot(nth)}, dataset: {SMALL}, dialects: [bench-gruenabfall], "
            f"areas: ['{area(nth)}'], valid_from: 1900-01-01}}"
        )
        sites += [
            f"{gate},collection_point,Annahmestelle {gate},{area(nth)},1900-01-01,9999-12-31" for gate in gates(nth)
        ]
    region = folder / "region.yml"
    region.write_text("\n".join([region.read_text(encoding="utf-8").rstrip(), *areas, ""]), encoding="utf-8")
    (folder / "sites.csv").write_text("\n".join([*sites, ""]), encoding="utf-8")
    (folder / "suppliers.yml").write_text("\n".join(["suppliers:", *suppliers, ""]), encoding="utf-8")
    (folder / "mandates.yml").write_text("\n".join(["mandates:", *mandates, ""]), encoding="utf-8")
    return folder


def gates(nth: int) -> list[str]:
    """The collection points of a depot."""
    return [f"gate-{nth}-{gate}" for gate in range(1, 5)]


def area(nth: int) -> str:
    """Municipality key of a depot; no real municipality has these."""
    return f"0599{nth:04d}"


def home(folder: Path, *, depots: int = 4) -> Settings:
    """Settings of a new home under `folder`, with a region of its own."""
    return Settings(home=folder / "home", region=str(write_region(folder / "region", depots)))
