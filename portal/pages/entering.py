"""Other ways to hand in: a template to fill in; and looking first, with nothing stored."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, File, Form, HTTPException, UploadFile
from fastapi.responses import Response

from portal.pages.deliveries import asked, forget_upload, sent_files
from portal.pages.recognising import seems
from portal.uploads import NoSuchUpload
from portal.visit import AVisit, door
from quality.assign import Assigned, assign_named
from quality.checking import LARGEST_CHECK, CannotCheck, CheckBusy
from quality.errors import NotAgreed, PlatformTrouble, Refused
from quality.starting import template_for
from storage.objects.base import CHUNK
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


@door(router, "POST", "/pruefen/{supplier}", "delivery.check")
def check(
    visit: AVisit, supplier: str, file: Annotated[list[UploadFile] | None, File()] = None,
    dataset: Annotated[str, Form()] = "", period: Annotated[str, Form()] = "",
    dialect: Annotated[str, Form()] = "", upload: Annotated[str, Form()] = "", upload_name: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """The verdict a file would get; nothing is stored."""
    chosen = {"dataset": dataset, "period": period.strip(), "dialect": dialect}
    try:
        files = sent_files(visit, file, upload, upload_name)
    except NoSuchUpload:
        return asked(visit, supplier, code=422, problem="hand_in.upload_gone", **chosen)
    if not files:
        return asked(visit, supplier, code=422, problem="hand_in.no_file", **chosen)
    if len(files) > 1:
        return asked(visit, supplier, code=422, problem="check.one_file", **chosen)
    source, name = files[0]
    reasons: list[Mapping[str, str]] = []
    with tempfile.TemporaryDirectory(dir=visit.desk.home.work, prefix="check-") as folder:
        copy = source if isinstance(source, Path) else Path(folder) / "sent"
        if not isinstance(source, Path):
            with copy.open("wb") as to:
                shutil.copyfileobj(source, to, CHUNK)
        if copy.stat().st_size > LARGEST_CHECK:
            return asked(visit, supplier, code=413, problem="check.too_large", **chosen)
        if not (dataset and chosen["period"]):
            # as in handing in: the content is asked where the name does not tell
            by_name = assign_named(visit.desk.pack, supplier, dataset, chosen["period"], name)
            if isinstance(by_name, Assigned):
                dataset, period = by_name.dataset, str(by_name.period)
            else:
                told = seems(visit, supplier, copy, name, dataset, chosen["period"])
                dataset, period, reasons = told["dataset"], told["period"], told["reasons"]
            if not (dataset and period):
                problem = f"hand_in.no_{'period' if dataset else 'dataset'}"
                return asked(
                    visit, supplier, code=422, problem=problem, dataset=dataset, period=period, dialect=dialect
                )
        try:
            document = visit.services.checks.check(
                copy, supplier, dataset, period.strip(), file_name=name, dialect=dialect or None
            )
        except NotAgreed:
            return asked(visit, supplier, code=422, problem="dialect.not_agreed", **chosen)
        except Refused:
            return asked(visit, supplier, code=422, problem="hand_in.no_such_slot", **chosen)
        except (CannotCheck, PlatformTrouble):
            return asked(visit, supplier, code=422, problem="check.cannot", **chosen)
        except CheckBusy:
            return asked(visit, supplier, code=429, problem="check.busy", **chosen)
    forget_upload(visit, upload)
    return visit.page(
        "entry/checked.html", supplier=visit.desk.pack.suppliers[supplier], receipt=document, file_name=name,
        dataset=dataset, period=period.strip(), title=visit.desk.pack.contracts[dataset].title, reasons=reasons,
        dialect=dialect,
    )  # fmt: skip


def _period(text: str) -> Period | None:
    try:
        return read_period(text) if text else None
    except ValueError:
        raise HTTPException(404) from None
