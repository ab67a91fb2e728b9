"""Handing in, and what became of it: the same verdict as by folder, store and command line."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, File, Form, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from portal.pages import threads
from portal.pages.recognising import propose
from portal.uploads import NoSuchUpload
from portal.visit import AVisit, Visit, door
from quality import judging
from quality.assign import Assigned, Unassigned, assign_named, name_of
from quality.errors import NotAgreed, Refused
from quality.reading import to_choose_from
from quality.receipt import receipt_stem
from quality.words import unknown_words
from storage import stores
from storage.confirmations import NoReason
from storage.ledger.ledger import UnknownDelivery
from storage.ledger.states import SERVED, WAITING
from storage.objects.base import CHUNK, NoSuchObject, TooManyBytes
from storage.paths import parse_delivery_id
from storage.periods import EXAMPLES

router = APIRouter()
ENDINGS = ("json", "html", "xlsx")


@door(router, "GET", "/abgeben/{supplier}", "delivery.hand_in")
def ask(visit: AVisit, supplier: str, dataset: str = "", period: str = "", dialect: str = "") -> Response:
    """The form for a file."""
    return asked(visit, supplier, dataset=dataset, period=period, dialect=dialect)


@door(router, "POST", "/abgeben/{supplier}", "delivery.hand_in")
def hand_in(
    visit: AVisit, supplier: str, file: Annotated[list[UploadFile] | None, File()] = None,
    dataset: Annotated[str, Form()] = "", period: Annotated[str, Form()] = "",
    dialect: Annotated[str, Form()] = "", upload: Annotated[str, Form()] = "", upload_name: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """Take a file in, sent with the form or before it part by part; it is safe from here on, and judged at once.

    What a file is that says so neither itself nor by its sender, and which of several is what, is proposed and asked for first.
    """
    chosen = {"dataset": dataset, "period": period.strip(), "dialect": dialect}
    try:
        files = sent_files(visit, file, upload, upload_name)
    except NoSuchUpload:
        return asked(visit, supplier, code=422, problem="hand_in.upload_gone", **chosen)
    if not files:
        return asked(visit, supplier, code=422, problem="hand_in.no_file", **chosen)
    source, name = files[0]
    told: Assigned | Unassigned | None = None
    if not (dataset and period.strip()):
        told = assign_named(visit.desk.pack, supplier, dataset, period.strip(), name)
    if len(files) > 1 or isinstance(told, Unassigned):
        proposed = propose(visit, supplier, files, **chosen)
        forget_upload(visit, upload)
        return proposed
    if told is not None:
        dataset, period = told.dataset, str(told.period)
    try:
        delivery = visit.desk.receive(
            source, supplier, dataset, period.strip(), file_name=name, who=visit.person.who, origin="portal",
            dialect=dialect or None,
        )  # fmt: skip
    except NotAgreed:
        return asked(visit, supplier, code=422, problem="dialect.not_agreed", **chosen)
    except Refused:
        return asked(visit, supplier, code=422, problem="hand_in.no_such_slot", **chosen)
    except TooManyBytes:
        return asked(visit, supplier, code=413, problem="hand_in.too_large", **chosen)
    forget_upload(visit, upload)
    visit.note("delivery.hand_in", delivery.delivery_id, sha256=delivery.sha256)
    judging.ring(visit.desk.settings)
    return visit.go(f"/lieferung/{delivery.delivery_id}")


def sent_files(
    visit: Visit, file: Sequence[UploadFile] | None, upload: str, upload_name: str
) -> list[tuple[BinaryIO | Path, str]]:
    """The files that came with a form, or before it part by part, with their own names.

    Raises:
        NoSuchUpload: What came before is not whole, or not there any more.
    """
    if not upload:
        return [(one.file, name) for one in file or () if (name := name_of(one.filename or ""))]
    sent = visit.services.uploads.find(visit.person.who, upload)
    if not sent.whole:
        raise NoSuchUpload
    return [(sent.path, name)] if (name := name_of(upload_name)) else []


def forget_upload(visit: Visit, upload: str) -> None:
    """Remove what was sent part by part, once it is elsewhere."""
    if upload:
        visit.services.uploads.end(visit.person.who, upload)


@door(router, "GET", "/lieferung/{delivery}", "delivery.see")
def verdict(visit: AVisit, delivery: str) -> Response:
    """What happened to a delivery, and what to do now."""
    return _verdict(visit, delivery)


@door(router, "GET", "/lieferung/{delivery}/weiter", "delivery.see")
async def follow(visit: AVisit, delivery: str, gesehen: str = "") -> Response:
    """The same page, once it goes on from the step that was seen."""
    await visit.services.following.beyond(delivery, gesehen)
    return await run_in_threadpool(_verdict, visit, delivery)


@door(router, "POST", "/lieferung/{delivery}/bestaetigen", "warning.confirm")
def confirm(
    visit: AVisit, delivery: str, regel: Annotated[str, Form()] = "", grund: Annotated[str, Form()] = ""
) -> Response:
    """Say why the figures are right that a warning is about."""
    person = visit.person
    try:
        visit.desk.confirm(delivery, regel, who=person.who, author=person.name, reason=grund)
    except UnknownDelivery:
        raise HTTPException(404) from None
    except NoReason:
        return _verdict(visit, delivery, problem="confirm.no_reason", code=422)
    except Refused:
        return _verdict(visit, delivery, problem="confirm.not_now", code=409)
    visit.note("warning.confirm", delivery, rule=regel)
    return visit.go(f"/lieferung/{delivery}")


@door(router, "GET", "/lieferung/{delivery}/quittung.{ending}", "delivery.see")
def receipt(visit: AVisit, delivery: str, ending: str) -> Response:
    """A file of the receipt, to keep."""
    if ending not in ENDINGS:
        raise HTTPException(404)
    supplier = parse_delivery_id(delivery).supplier
    answers, name = stores.receipts(visit.desk.settings), f"{receipt_stem(delivery)}.{ending}"
    try:
        opened = answers.open(f"{supplier}/{name}")
    except NoSuchObject:
        raise HTTPException(404) from None

    def parts() -> Iterator[bytes]:
        with opened:
            while part := opened.read(CHUNK):
                yield part

    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return StreamingResponse(
        parts(), media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _verdict(visit: Visit, delivery: str, *, problem: str | None = None, code: int = 200) -> Response:
    # asked first: of a receipt that is not being written, all files are there, and of what comes later the page hears
    step = visit.desk.ledger.progress([delivery])[delivery]
    try:
        document = visit.desk.receipt(delivery)
    except UnknownDelivery:
        raise HTTPException(404) from None
    pack, slot = visit.desk.pack, parse_delivery_id(delivery).slot
    contract = pack.contracts.get(slot.dataset)
    said = visit.services.threads.of_delivery(delivery)
    history = visit.desk.ledger.deliveries(slot.supplier, slot.dataset, slot.period)
    places = visit.desk.receipts.places(delivery)
    return visit.page(
        "verdict.html", code=code, problem=problem, receipt=document, waiting=document["state"] in WAITING,
        step=step, title=contract.title if contract else {},
        fields=contract.by_name if contract else {}, threads=threads.shown(visit, said),
        contested={one.topic.rule for one in said if one.is_open and one.topic.rule},
        files=[ending for ending in ENDINGS if places.get(ending)], history=history,
        confirmed={one["rule"]: one for one in document["confirmed"]},
        words=visit.may("word.map", slot.supplier)
        and any(unknown_words(visit.desk, delivery, document["findings"])),
        may_confirm=document["state"] in SERVED and visit.may("warning.confirm", slot.supplier),
    )  # fmt: skip


def asked(
    visit: Visit, supplier: str, *, dataset: str, period: str, dialect: str = "", problem: str | None = None, code: int = 200,
) -> Response:  # fmt: skip
    """The form for a file, with what was chosen and what is wrong with it."""
    pack = visit.desk.pack
    if supplier not in pack.suppliers:
        raise HTTPException(404)
    owed = {name: pack.contracts[name] for name in pack.datasets_of(supplier)}
    return visit.page(
        "hand_in.html", code=code, supplier=pack.suppliers[supplier], contracts=owed, examples=EXAMPLES, dataset=dataset,
        period=period, dialect=dialect, dialects=to_choose_from(pack, supplier), problem=problem,
    )  # fmt: skip
