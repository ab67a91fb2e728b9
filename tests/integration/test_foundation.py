"""The foundation from accepted rows to indicators: what readers see, and what they never see."""

from __future__ import annotations

import pytest

from quality.foundation import build
from storage.settings import Settings
from tests.support import accepted_lake


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


def test_an_empty_region_builds(settings: Settings) -> None:
    accepted_lake.write(settings, {})
    result = build(settings)
    assert result.full
    assert not result.failed_tests
    assert accepted_lake.read(settings, "select * from indicators", snapshot=result.snapshot) == []
