"""Routes for programs: what is owed, handing in, checking first, what became of it. The desk does all of it."""

from __future__ import annotations

import hashlib
import mimetypes
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect

from portal.api import models
from portal.api.describing import described, description
from portal.api.door import BASE, ACall, Call, Problem, api_door
from quality import checking, judging
from quality.assign import Assigned, assign_named, name_of
from quality.desk import summary_of
from quality.errors import Refused
from quality.receipt import receipt_stem
from storage import stores
from storage.ledger.ledger import DeliveryView, UnknownDelivery
from storage.ledger.states import WAITING, DeliveryState
from storage.objects.base import CHUNK, NoSuchObject
from storage.paths import Slot, parse_delivery_id
from storage.periods import EXAMPLES, is_period

router = APIRouter(prefix=BASE)
#: So many files of one supplier may be on their way in at once; each takes room until it is whole.
UPLOADS_AT_ONCE = 4
_under_way: Counter[str] = Counter()

Dataset = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z][a-z0-9_]{2,60}$",
        description="What is delivered. Left out: told from the file's name.",
        examples=["meter_readings"],
    ),
]
Period = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9Qq-]{4,10}$",
        description="2024, 2024-Q3, 2024-07 or 2024-07-31. Left out: told from the file's name.",
        examples=["2025-03"],
    ),
]
FileName = Annotated[
    str, Query(min_length=1, max_length=255, description="What the file is called.", examples=["Messwerte_2025-03.csv"])
]
Sha256 = Annotated[
    str | None,
    Query(pattern=r"^[0-9a-f]{64}$", description="Of the bytes as you have them: others are refused."),
]
Dialect = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z0-9][a-z0-9_.-]{2,80}$",
        description="One of the dialects agreed for supplier, dataset and period. Left out: told from the file's name.",
        examples=["messwerte-csv"],
    ),
]
Ending = Literal["json", "html", "xlsx"]


@dataclass(frozen=True)
class Body:
    """A file as it came, on this machine until the call ends."""

    path: Path
    size: int
    sha256: str


@api_door(
    router, "GET", "/suppliers/{supplier}/duties", "duties.see", **described(list[models.Duty], "What a supplier owes")
)
def duties(call: ACall, supplier: str) -> list[models.Duty]:
    """Everything that is or was owed up to today, the earliest first."""
    pack, now = _pack_with(call, supplier).shared, datetime.now(UTC)
    owed = call.desk.owed(now.date(), supplier=supplier)
    states = call.desk.standing(owed, now, supplier=supplier)
    return [
        models.Duty(
            dataset=o.slot.dataset, title=models.Said(**pack.contracts[o.slot.dataset].title), period=o.slot.period,
            due_on=o.due_on, is_extended=o.is_extended, state=states[o.slot].state, newest=states[o.slot].newest,
        )
        for o in sorted(owed, key=lambda o: (o.due_on, o.slot))
    ]  # fmt: skip


@api_door(
    router,
    "GET",
    "/suppliers/{supplier}/deliveries",
    "delivery.see",
    **described(list[models.Delivery], "A supplier's deliveries"),
)
def deliveries(
    call: ACall, supplier: str, dataset: Dataset = None, period: Period = None, state: DeliveryState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[models.Delivery]:  # fmt: skip
    """Its own deliveries with their state, the newest first."""
    _pack_with(call, supplier)
    found = call.desk.ledger.deliveries(supplier, dataset, period, state)
    return [_delivery(view) for view in found[: -limit - 1 : -1]]


@api_door(
    router, "POST", "/suppliers/{supplier}/deliveries", "delivery.hand_in",
    **described(models.Delivery, "Hand in a file", code=202, body=True),
)  # fmt: skip
async def hand_in(
    call: ACall,
    supplier: str,
    file_name: FileName,
    dataset: Dataset = None,
    period: Period = None,
    dialect: Dialect = None,
    sha256: Sha256 = None,
) -> Response:
    """Send the file's bytes as they are, as the body of the call.

    The answer comes when they are safe; the verdict follows at the address in `Location`. The same bytes for the same
    dataset and period are a duplicate and change nothing: a call whose answer was lost may be repeated.
    """
    slot, name = await run_in_threadpool(_slot_of, call, supplier, dataset, period, file_name)
    if await run_in_threadpool(call.desk.ledger.backlog, supplier) >= judging.BACKLOG:
        raise _later("api.too_many_waiting", 60, count=judging.BACKLOG)
    async with _body(call, supplier, call.desk.settings.max_file_bytes, sha256) as body:
        return await run_in_threadpool(_take_in, call, supplier, slot, name, body, dialect)


@api_door(
    router, "POST", "/suppliers/{supplier}/checks", "delivery.check",
    **described(models.Check, "Check a file first", body=True),
)  # fmt: skip
async def check(
    call: ACall,
    supplier: str,
    file_name: FileName,
    dataset: Dataset = None,
    period: Period = None,
    dialect: Dialect = None,
    sha256: Sha256 = None,
) -> Response:
    """The verdict a file would get if it were handed in now. Nothing is stored.

    One file of a supplier at a time, of up to 100 MB.
    """
    slot, name = await run_in_threadpool(_slot_of, call, supplier, dataset, period, file_name)
    async with _body(call, supplier, checking.LARGEST_CHECK, sha256) as body:
        return await run_in_threadpool(_check, call, supplier, slot, name, body, dialect)


@api_door(
    router, "GET", "/deliveries/{delivery}", "delivery.see", **described(models.Receipt, "What became of a delivery")
)
def delivery(call: ACall, delivery: str) -> models.Receipt:
    """Its state now and, once it is judged, the verdict: what is wrong, where, and what to do."""
    try:
        document = call.desk.receipt(delivery)
    except UnknownDelivery:
        raise Problem(404, "api.not_there") from None
    # where the files lie is the platform's own business
    files = {
        ending: f"{BASE}/deliveries/{delivery}/receipt.{ending}" if place else None
        for ending, place in document["receipt"].items()
    }
    return models.Receipt(**models.clean({**document, "waiting": document["state"] in WAITING, "receipt": files}))


@api_door(
    router, "GET", "/deliveries/{delivery}/receipt.{ending}", "delivery.see",
    **described(None, "A file of the receipt"),
)  # fmt: skip
def receipt(call: ACall, delivery: str, ending: Ending) -> Response:
    """The receipt to keep, as JSON, page or workbook with the places that were marked. There once it is judged."""
    name = f"{receipt_stem(delivery)}.{ending}"
    try:
        opened = stores.receipts(call.desk.settings).open(f"{parse_delivery_id(delivery).supplier}/{name}")
    except NoSuchObject:
        raise Problem(404, "api.not_there") from None

    def parts() -> Iterator[bytes]:
        with opened:
            while part := opened.read(CHUNK):
                yield part

    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return StreamingResponse(
        parts(), media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@api_door(router, "GET", "/openapi.json", "api.describe", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """This interface, for programs that read descriptions."""
    return JSONResponse(description(request.app))


def _pack_with(call: Call, supplier: str) -> Any:
    pack = call.desk.pack
    if supplier not in pack.suppliers:
        raise Problem(404, "api.not_there")
    return pack


def _slot_of(
    call: Call, supplier: str, dataset: str | None, period: str | None, file_name: str
) -> tuple[Slot, str]:  # fmt: skip
    """What a file is delivered as, and its name without the folders a program may have left on it."""
    pack, name = _pack_with(call, supplier), name_of(file_name)
    if name in ("", ".", ".."):
        raise Problem(422, "api.no_file_name")
    if dataset is not None and dataset not in pack.contracts:
        raise Problem(422, "api.no_such_dataset", dataset=dataset, known=", ".join(sorted(pack.datasets_of(supplier))))
    if period is not None and not is_period(period):
        raise Problem(422, "api.no_such_period", period=period, known=", ".join(EXAMPLES.values()))
    told = assign_named(pack, supplier, dataset or "", period or "", name)
    if not isinstance(told, Assigned):
        known = ", ".join(told.owed if told.missing == "dataset" else EXAMPLES.values())
        raise Problem(422, f"api.no_{told.missing}", known=known)
    return Slot(supplier, told.dataset, str(told.period)), name


def _take_in(call: Call, supplier: str, slot: Slot, name: str, body: Body, dialect: str | None) -> Response:
    try:
        taken = call.desk.receive(
            body.path,
            supplier,
            slot.dataset,
            slot.period,
            file_name=name,
            who=call.program.who,
            origin="api",
            dialect=dialect,
        )
    except Refused as error:
        raise _refused(error) from None
    call.note("delivery.hand_in", taken.delivery_id, sha256=taken.sha256)
    judging.ring(call.desk.settings)
    told = _delivery(call.desk.ledger.delivery(taken.delivery_id))
    return JSONResponse(
        told.model_dump(mode="json"), status.HTTP_202_ACCEPTED, {"Location": f"{BASE}/deliveries/{told.delivery}"}
    )


def _check(call: Call, supplier: str, slot: Slot, name: str, body: Body, dialect: str | None) -> Response:
    try:
        document = call.services.checks.check(
            body.path, supplier, slot.dataset, slot.period, file_name=name, dialect=dialect
        )
    except Refused as error:
        raise _refused(error) from None
    except checking.CheckBusy:
        raise _later("api.checks_busy", 10) from None
    except checking.CannotCheck:
        raise Problem(422, "api.cannot_check") from None
    call.note("delivery.check", str(slot), sha256=body.sha256)
    return JSONResponse(models.Check(**models.clean(document)).model_dump(mode="json"))


def _delivery(view: DeliveryView) -> models.Delivery:
    return models.Delivery(**models.clean({**summary_of(view), "waiting": view.state in WAITING}))


def _refused(error: Refused) -> Problem:
    return Problem(422, "api.refused", expected=error.expected, found=error.found)


def _later(problem: str, seconds: int, **facts: object) -> Problem:
    return Problem(429, problem, headers={"Retry-After": str(seconds)}, **facts)


@asynccontextmanager
async def _body(call: Call, supplier: str, limit: int, sha256: str | None) -> AsyncIterator[Body]:
    """The body of a call as a file. It is read while it comes, so that one of gigabytes takes no memory."""
    request = call.request
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        # a form's borders would be judged as part of the file
        raise Problem(415, "api.a_form", kind=kind)
    if (coding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise Problem(415, "api.packed", kind=coding)
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise Problem(413, "api.too_large", limit=limit)
    with _turn(supplier), tempfile.NamedTemporaryFile(dir=call.desk.home.work, prefix="upload-") as file:
        digest, size = hashlib.sha256(), 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise Problem(413, "api.too_large", limit=limit)
                digest.update(part)
                await run_in_threadpool(file.write, part)
        except ClientDisconnect:
            raise Problem(400, "api.broken_off") from None
        file.flush()
        if sha256 is not None and sha256 != digest.hexdigest():
            raise Problem(422, "api.other_bytes", expected=sha256, found=digest.hexdigest())
        yield Body(Path(file.name), size, digest.hexdigest())


@contextmanager
def _turn(supplier: str) -> Iterator[None]:
    if _under_way[supplier] >= UPLOADS_AT_ONCE:
        raise _later("api.too_many_at_once", 5, count=UPLOADS_AT_ONCE)
    _under_way[supplier] += 1
    try:
        yield
    finally:
        _under_way[supplier] -= 1
