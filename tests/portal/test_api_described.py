"""Calls made up from the description of the interface: none breaks the platform, every answer is one that is described."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portal.api.door import API_DOORS, BASE
from portal.rights import OF_PROGRAMS
from quality.judging import work_queue
from storage.tokens import Tokens
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, WORKS, written

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
#: For a long search: VERBUND_API_CALLS=1000 pytest tests/portal/test_api_described.py
CALLS = int(os.environ.get("VERBUND_API_CALLS", "5"))
PERIOD, ROW = GOOD["waste_balance"]


@pytest.fixture(scope="module")
def own(stage: Stage) -> dict[str, str]:
    """What is the program's own: its supplier, and a delivery that was judged."""
    source = io.BytesIO(written([{**ROW, "waste_code": "999999"}]).encode())
    delivery = stage.desk.receive(source, WORKS, "waste_balance", PERIOD, file_name="a.csv", who="test")
    work_queue(stage.desk)
    return {"supplier": WORKS, "delivery": delivery.delivery_id}


@pytest.fixture(scope="module")
def headers(stage: Stage) -> dict[str, str]:
    tokens = Tokens(stage.desk.settings.ledger_url)
    token, _ = tokens.make(WORKS, "Rechner", OF_PROGRAMS, 1, by="test")
    tokens.close()
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def interface(stage: Stage) -> Any:
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", stage.app)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize(("method", "path"), sorted(set(API_DOORS) - {("GET", "/openapi.json")}), ids=str)
def test_no_call_breaks_the_platform(
    interface: Any, own: dict[str, str], headers: dict[str, str], method: str, path: str, mode: Any
) -> None:
    @given(case=interface[f"{BASE}{path}"][method].as_strategy(generation_mode=mode))
    @settings(max_examples=CALLS, deadline=None, derandomize=CALLS < 100, suppress_health_check=list(HealthCheck))
    def calls(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=120)
        # what is made up names nobody; the same call about what is the program's own goes further
        case.path_parameters |= {name: value for name, value in own.items() if name in case.path_parameters}
        if method == "POST":
            case.query = {**(case.query or {}), "dataset": "waste_balance", "period": PERIOD}
            case.query.pop("sha256", None)
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=120)

    calls()
