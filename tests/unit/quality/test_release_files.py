"""What a release tells of models and values, without a lake."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quality import foundation
from quality.release import NoRelease, _models, current, releases, verify
from quality.release_reading import json_value, name, text
from storage.settings import Settings


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Decimal("71234.567891"), 71234.567891),
        (Decimal("12.340000"), 12.34),
        (Decimal("123456789012.345678"), "123456789012.345678"),
        (date(2025, 3, 30), "2025-03-30"),
        (time(9, 15), "09:15:00"),
        (datetime(2025, 3, 30, 1, tzinfo=UTC), "2025-03-30T01:00:00+00:00"),
        (b"\x00\xff", "00ff"),
        ({1: [Decimal("0.5"), date(2025, 1, 1)]}, {"1": [0.5, "2025-01-01"]}),
        (timedelta(hours=1), "1:00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_a_query_become_json_without_losing_a_digit(value: Any, told: Any) -> None:
    assert json_value(value) == told
    json.dumps(json_value(value), allow_nan=False)


def test_names_and_texts_are_quoted_so_that_they_stay_what_they_are() -> None:
    assert name('a"; drop table b; --') == '"a""; drop table b; --"'
    assert text("Remscheid's '") == "'Remscheid''s '''"


def test_descriptions_and_keys_are_found_in_the_dbt_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "marts"
    folder.mkdir(parents=True)
    (folder / "empty.yml").write_text("version: 2\n")
    (folder / "models.yml").write_text(
        """
models:
  - name: things
    description: "Things. One row per area and year."
    data_tests:
      - at_least_one_row
      - holds: {arguments: {condition: "a > 0"}}
      - one_row_per: {arguments: {columns: [area_code, year]}}
    columns:
      - {name: area_code, data_type: "{{ 'x' if true else 'y' }}", description: Official key.}
      - {name: year}
  - name: plain
""",
        encoding="utf-8",
    )
    monkeypatch.setattr(foundation, "project_dir", lambda: tmp_path)
    models = _models()
    assert models["things"].description == "Things. One row per area and year."
    assert models["things"].key == ("area_code", "year")
    assert models["things"].columns == {"area_code": "Official key.", "year": ""}
    assert models["plain"].key == ()


def test_a_home_without_releases_says_so_and_is_not_touched(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    assert current(settings) is None
    assert releases(settings) == []
    with pytest.raises(NoRelease, match="no release yet"):
        verify(settings)
    with pytest.raises(NoRelease, match="no release 3; there are: none yet"):
        verify(settings, 3)
    assert not settings.home.exists()
