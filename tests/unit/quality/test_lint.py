"""A contract that a supplier could not read is refused before anybody judges by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from quality.configuration import contracts_dir
from quality.lint import lint

REASON = '{"de": "Der Name hat 1 bis 120 Zeichen.", "en": "The name has 1 to 120 characters."}'


@pytest.mark.parametrize(
    ("instead", "missing"),
    [
        ('{"en": "The name has 1 to 120 characters."}', "because", ),
        ('{"de": "Der Name hat 1 bis 120 Zeichen."}', "because"),
        ('{"de": " ", "en": "The name has 1 to 120 characters."}', "because"),
        (f"{REASON}}}\n          - {{property: remedy, value: {{en: Mend it.}}", "remedy"),
    ],
    ids=["no_german", "no_english", "blank_german", "remedy_without_german"],
)  # fmt: skip
def test_a_rule_that_is_not_told_in_both_languages_is_refused_where_it_stands(
    tmp_path: Path, instead: str, missing: str
) -> None:
    file = Path(shutil.copy(contracts_dir() / "municipality_register.odcs.yml", tmp_path))
    assert lint(file).problems == ()
    text = file.read_text()
    assert REASON in text
    file.write_text(text.replace(REASON, instead))
    (problem,) = lint(file).problems
    line = next(n for n, told in enumerate(text.splitlines(), 1) if "id: name_present" in told)
    assert problem.startswith(
        f"{file}:{line}: expected a custom property `{missing}` with de and en in rule name_present"
    )


def test_a_rule_with_a_description_only_is_refused(tmp_path: Path) -> None:
    file = Path(shutil.copy(contracts_dir() / "municipality_register.odcs.yml", tmp_path))
    file.write_text(file.read_text().replace("property: because", "property: cause"))
    assert all("none in de" in problem for problem in lint(file).problems) and lint(file).problems
