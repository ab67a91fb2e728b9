"""The recipes of docs/bi.md for a server installation, run as the page spells them, by a reader made by the operator's command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from quality.release import release
from storage import lake
from storage.ledger.ledger import Ledger
from tests.server.support.installation import Installation, installation
from tests.support import foundation_lake

ROOT = Path(__file__).parents[2]
#: Every recipe shows a row of this municipality, with the exact value, or what it is about.
AREA = "05124000"
INDICATORS = f"""
create table indicators as
select 'K-01' as indicator, '{AREA}' as area, '2024' as period, 12.345678::decimal(28, 6) as value,
    'kg/person' as unit, null::varchar as missing_reason
"""
BALANCE = f"""
create table waste_balance as
select '{AREA}' as area_code, 2024 as year, '200301' as waste_code, 'generated' as flow_code,
    'kerbside' as collection_code, 'none' as treatment_code, 1.5::decimal(18, 6) as quantity_t
"""


@dataclass(frozen=True)
class Recipe:
    """One block of the page.

    Attributes:
        name: Heading and number, for people.
        language: `sh` or `python`.
        text: As it stands there.
    """

    name: str
    language: str
    text: str


def recipes() -> Iterator[Recipe]:
    page = (ROOT / "docs" / "bi.md").read_text(encoding="utf-8")
    for heading in ("The database", "The files of a server"):
        _, _, section = page.partition(f"\n## {heading}\n")
        section, _, _ = section.partition("\n## ")
        blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        for number, (language, text) in enumerate(blocks, start=1):
            yield Recipe(f"{heading.lower().replace(' ', '_')}_{number}_{language}", language, text)


PRELUDE, *RECIPES = recipes()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Folder of somebody who was given a login and the authority's certificate; and their environment."""
    folder = tmp_path_factory.mktemp("reader")
    with installation(tmp_path_factory.mktemp("served") / "home", ROOT / "tests/packs/plain") as made:
        assert made.verbund("server", "init", admin=True).code == 0
        _release(made)
        given = ("server", "reader", "dashboard", "--level", "region", "--to", str(folder / "dashboard.env"))
        assert made.verbund(*given, admin=True).code == 0
        (folder / "ca.pem").write_text(made.postgres.ca_file.read_text() + made.front.ca_file.read_text())
        # where `install` finds what it would fetch
        (folder / ".duckdb").mkdir()
        (folder / ".duckdb" / "extensions").symlink_to(lake.extension_directory(made.settings()))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        yield folder, {"PATH": path, "HOME": str(folder)}


def _release(made: Installation) -> None:
    settings = made.settings()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    ledger.close()
    foundation_lake.build(settings, [INDICATORS, BALANCE])
    assert release(settings).number == 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_of_the_page_works_as_it_is_written(reader: tuple[Path, Mapping[str, str]], recipe: Recipe) -> None:
    folder, environment = reader
    script = f"set -eu\n{PRELUDE.text}"
    script += recipe.text if recipe.language == "sh" else f"python - <<'END'\n{recipe.text}END\n"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (AREA in done.stdout and re.search(r"12\.345678|1\.5", done.stdout)) or done.stdout == 'PAR1{"release": 1}'


def test_the_page_has_a_recipe_for_each_tool_that_needs_nothing_new() -> None:
    told = " ".join(recipe.text for recipe in RECIPES)
    assert all(tool in told for tool in ("psql ", "pd.read_sql(", "pl.read_database(", "type postgres", "type s3"))
    assert all(tool in told for tool in ("pl.scan_parquet(", "pd.read_parquet(", "curl "))


@pytest.mark.parametrize(
    ("sslmode", "ca", "expected"),
    [("disable", "ca.pem", "f"), ("require", "nowhere.pem", "t"), ("verify-full", "ca.pem", "t"), ("verify-full", "nowhere.pem", None)],
)  # fmt: skip
def test_the_database_is_reached_over_tls_and_its_name_is_proved_where_asked(
    reader: tuple[Path, Mapping[str, str]], sslmode: str, ca: str, expected: str | None
) -> None:
    folder, environment = reader
    told = f"PGSSLMODE={sslmode} PGSSLROOTCERT={ca}"
    asked = f'{told} psql -X -At -c "select ssl from pg_stat_ssl where pid = pg_backend_pid()"'
    done = subprocess.run(
        ["bash", "-c", f"set -a; . ./dashboard.env; {asked}"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout.strip() or None) == expected, done.stderr
