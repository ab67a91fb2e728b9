"""Other ways to hand in: a template to fill in."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from portal.visit import AVisit, door
from quality.desk import Refused
from quality.starting import template_for
from storage.periods import Period
from storage.periods import period as read_period

router = APIRouter()
WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@door(router, "GET", "/vorlage/{supplier}/{dataset}", "template.get")
def template(visit: AVisit, supplier: str, dataset: str, period: str = "") -> Response:
    """A workbook to fill in, in the supplier's own words, started with what came the last time."""
    with tempfile.TemporaryDirectory(dir=visit.desk.home.work, prefix="template-") as folder:
        file = Path(folder) / "template.xlsx"
        try:
            made = template_for(visit.desk, dataset, supplier, file, _period(period))
        except Refused:
            raise HTTPException(404) from None
        content = file.read_bytes()
    name = f"attachment; filename*=UTF-8''{quote(made.file_name)}"
    return Response(content, media_type=WORKBOOK, headers={"Content-Disposition": name})


def _period(text: str) -> Period | None:
    try:
        return read_period(text) if text else None
    except ValueError:
        raise HTTPException(404) from None
