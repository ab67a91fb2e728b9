"""Scores: what counts, how one slip weighs, and that silence is no score."""

from __future__ import annotations

import polars as pl
import pytest

from quality.scorecard import TOPICS, Score, scored

ALL_GOOD = dict.fromkeys(TOPICS, True)


def slots(*rows: dict[str, object]) -> pl.DataFrame:
    schema = {"supplier_id": pl.String, **dict.fromkeys(TOPICS, pl.Boolean)}
    return pl.DataFrame([{"supplier_id": "works", **ALL_GOOD, **row} for row in rows], schema=schema)


def test_who_always_delivers_well_has_a_full_score() -> None:
    found = scored(slots(*[{}] * 24))
    assert found["works"]["timely"] == Score(1.0, 24, 24)


@pytest.mark.parametrize(("late", "bounds"), [(0, (0.97, 1.0)), (23, (0.85, 0.93))], ids=["long_ago", "just_now"])
def test_one_slip_counts_less_the_longer_it_is_ago_and_never_decides(late: int, bounds: tuple[float, float]) -> None:
    score = scored(slots(*[{"timely": nth != late} for nth in range(24)]))["works"]["timely"]
    assert score.good == 23 and score.smoothed is not None
    assert bounds[0] < score.smoothed < bounds[1]


def test_what_says_nothing_of_a_topic_does_not_count_for_it() -> None:
    found = scored(slots({"first_pass": None}, {"first_pass": True}, {"first_pass": None}))["works"]
    assert found["first_pass"] == Score(1.0, 1, 1)
    assert scored(slots({"first_pass": None}))["works"]["first_pass"] == Score(None, 0, 0)


def test_each_supplier_has_its_own_score() -> None:
    found = scored(slots({}, {"supplier_id": "other", "complete": False}))
    assert (found["works"]["complete"].smoothed, found["other"]["complete"].smoothed) == (1.0, 0.0)
