"""What may know what: imports, names of datasets and suppliers, the folders of models, and pages that point somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from importlinter.cli import lint_imports

from quality.configuration import contracts_dir
from quality.lint import lint
from storage.settings import project_root

ROOT = project_root()
PACKAGES = ("storage", "quality", "orchestration", "portal", "verbund")
CONTRACTS = sorted([*contracts_dir().glob("*.odcs.yml"), *ROOT.glob("regions/*/contracts/*.odcs.yml")])
MODELS = ROOT / "transformations" / "models"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
#: Layer → how the names of its models begin. Marts bear the names of the tables that readers see.
PREFIXES = {"staging": "stg_", "intermediate": "int_"}


def datasets() -> set[str]:
    return {path.name.removesuffix(".odcs.yml") for path in CONTRACTS}


def suppliers() -> set[str]:
    packs = ROOT.glob("regions/*/suppliers.yml")
    return {
        supplier["id"] for pack in packs for supplier in yaml.safe_load(pack.read_text(encoding="utf-8"))["suppliers"]
    }


def python_files() -> list[Path]:
    """Every Python file of ours that neither invents deliveries (the demo) nor tests or measures the platform."""
    folders = [*(ROOT / package for package in PACKAGES), ROOT / "transformations", ROOT / "regions", ROOT / "infra"]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    return sorted(file for file in files if not file.relative_to(ROOT).as_posix().startswith("verbund/demo"))


def named(text: str) -> set[str]:
    """The datasets and suppliers a text names; `population` inside `population_male` is another word."""
    known = datasets() | suppliers()
    return {word for word in known if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text.replace("--", " "))}


def test_no_test_is_left_out() -> None:
    """Every folder of tests is run by `make test`, but those that `make test-server` and `make test-browser` run."""
    asked = {
        ROOT / path
        for path in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    }
    asked |= {ROOT / "tests" / folder for folder in ("server", "browser")}
    left_out = [path for path in (ROOT / "tests").rglob("test_*.py") if not asked & set(path.parents)]
    assert left_out == []


def test_imports_go_one_way_and_each_engine_is_imported_in_one_folder() -> None:
    assert lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True) == 0


@pytest.mark.parametrize(
    ("package", "engine"),
    [("quality.desk", "dagster"), ("verbund.cli", "dagster"), ("storage.lake", "great_expectations")],
)
def test_what_needs_no_engine_loads_none(package: str, engine: str) -> None:
    told = f"import sys, {package}; sys.exit({engine!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], cwd=ROOT, check=False, timeout=120).returncode == 0


def test_no_python_names_a_dataset_or_a_supplier() -> None:
    assert datasets() and suppliers() and len(python_files()) > 50
    found = {file.relative_to(ROOT).as_posix(): named(file.read_text(encoding="utf-8")) for file in python_files()}
    assert {file: names for file, names in found.items() if names} == {}


def test_a_name_is_found_in_ids_and_paths_and_not_in_longer_words() -> None:
    dataset, supplier = min(datasets()), min(suppliers())
    assert named(f"{supplier}--{dataset}--2024--01") == {dataset, supplier}
    assert named(f"models/{dataset}.sql") == named(f"'{dataset}'") == {dataset}
    assert named(f"{dataset}_by_area {supplier}-nord") == set()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda path: path.name.removesuffix(".odcs.yml"))
def test_every_contract_keeps_to_the_standard(contract: Path) -> None:
    assert lint(contract).problems == ()


@pytest.mark.parametrize("model", sorted(MODELS.rglob("*.sql")), ids=lambda path: path.stem)
def test_every_model_name_matches_its_folder(model: Path) -> None:
    layer = model.relative_to(MODELS).parts[0]
    assert layer in (*PREFIXES, "marts")
    begins = PREFIXES.get(layer)
    if begins:
        assert model.stem.startswith(begins)
    else:
        assert not model.stem.startswith(tuple(PREFIXES.values()))


def test_every_dataset_has_a_staging_model_and_a_mart_of_its_name() -> None:
    models = {path.relative_to(MODELS).as_posix() for path in MODELS.rglob("*.sql")}
    wanted = {f"staging/stg_{d}.sql" for d in datasets()} | {f"marts/{d}.sql" for d in datasets()}
    assert wanted - models == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(<?([^)>\s]+)>?[^)]*\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    broken = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        file = (page.parent / place).resolve() if place else page
        leads = file.exists() and file.is_relative_to(ROOT)
        if leads and anchor and file.suffix == ".md":
            leads = anchor in _anchors(file)
        if not leads:
            broken.append(target)
    assert broken == []


def _anchors(page: Path) -> set[str]:
    """What GitHub and GitLab make of headings."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
