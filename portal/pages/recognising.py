"""Files that nobody said what they are: proposed from their content, with the reason, and confirmed or corrected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from quality import judging
from quality.assign import Assigned, assign_named
from quality.checking import CannotCheck, CheckBusy
from quality.errors import NotAgreed, PlatformTrouble, Refused
from quality.reading import agreed_ever, to_choose_from
from storage.objects.base import TooManyBytes
from storage.periods import EXAMPLES
from storage.waiting import Waiting

router = APIRouter()
#: So many files at once; more come by folder, store or programs.
MOST_FILES = 20
_TOKEN = re.compile(r"datei\.([A-Za-z0-9_-]{22})")


async def _sent(request: Request) -> dict[str, str]:
    return {name: text for name, text in (await request.form()).items() if isinstance(text, str)}


def propose(
    visit: Visit,
    supplier: str,
    files: Sequence[tuple[BinaryIO | Path, str]],
    *,
    dataset: str,
    period: str,
    dialect: str,
) -> Response:
    """Let files wait, and ask whether they are what they seem to be."""
    items: list[dict[str, Any]] = []
    for source, name in files[:MOST_FILES]:
        try:
            waiting = visit.services.waiting.put(source, _owner(visit, supplier), name)
        except TooManyBytes:
            items.append({"file_name": name, "token": "", "problem": "hand_in.too_large"})
            continue
        items.append(_proposed(visit, supplier, waiting, dataset, period, dialect))
    open_ones = any(item["problem"] for item in items)
    return _page(visit, supplier, items, left_out=max(0, len(files) - MOST_FILES), code=422 if open_ones else 200)


@door(router, "POST", "/abgeben/{supplier}/erkannt", "delivery.hand_in")
def confirm(visit: AVisit, supplier: str, sent: Annotated[dict[str, str], Depends(_sent)]) -> Response:
    """Take in what was confirmed or corrected."""
    taken: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    for token in [match[1] for name in sent if (match := _TOKEN.fullmatch(name))][:MOST_FILES]:
        waiting = visit.services.waiting.get(token, _owner(visit, supplier))
        if waiting is None:
            continue
        if f"weglassen.{token}" in sent:
            visit.services.waiting.drop(waiting)
            continue
        dataset, period = sent.get(f"dataset.{token}", ""), sent.get(f"period.{token}", "").strip()
        dialect = _dialect(
            visit, supplier, dataset, sent.get(f"dialect.{token}", ""), sent.get(f"proposed.{token}", "")
        )
        problem = _missing(dataset)
        if dataset and period:
            problem = _taken(visit, supplier, waiting, dataset, period, dialect, taken)
        if problem:
            left.append(_item(waiting, dataset, period, dialect, [], problem=problem))
    if taken:
        judging.ring(visit.desk.settings)
    if left or not taken:
        return _page(visit, supplier, left, taken=taken, code=422)
    if len(taken) == 1:
        return visit.go(f"/lieferung/{taken[0]['delivery']}")
    return _page(visit, supplier, [], taken=taken)


def _taken(
    visit: Visit, supplier: str, waiting: Waiting, dataset: str, period: str, dialect: str, taken: list[dict[str, Any]]
) -> str:
    """Take one file in; the problem where it cannot be."""
    try:
        delivery = visit.desk.receive(
            waiting.path, supplier, dataset, period, file_name=waiting.file_name, who=visit.person.who, origin="portal",
            dialect=dialect or None,
        )  # fmt: skip
    except NotAgreed:
        return "dialect.not_agreed"
    except Refused:
        return "hand_in.no_such_slot"
    visit.services.waiting.drop(waiting)
    visit.note("delivery.hand_in", delivery.delivery_id, sha256=delivery.sha256)
    taken.append(
        {"delivery": delivery.delivery_id, "file_name": waiting.file_name, "dataset": dataset, "period": period}
    )
    return ""


def _proposed(visit: Visit, supplier: str, waiting: Waiting, dataset: str, period: str, dialect: str) -> dict[str, Any]:
    told = seems(visit, supplier, waiting.path, waiting.file_name, dataset, period)
    problem = "" if told["dataset"] and told["period"] else _missing(told["dataset"])
    return _item(waiting, told["dataset"], told["period"], dialect or told["dialect"], told["reasons"], problem=problem)


def seems(visit: Visit, supplier: str, source: Path, name: str, dataset: str, period: str) -> dict[str, Any]:
    """What a file seems to be; where that cannot be looked at now, what its name says."""
    try:
        return visit.services.checks.recognise(source, supplier, file_name=name, dataset=dataset, period=period)
    except (CannotCheck, CheckBusy, PlatformTrouble):
        by_name = assign_named(visit.desk.pack, supplier, dataset, period, name)
        if isinstance(by_name, Assigned):
            return {"dataset": by_name.dataset, "period": str(by_name.period), "dialect": "", "reasons": []}
        return {"dataset": dataset, "period": period, "dialect": "", "reasons": []}


def _dialect(visit: Visit, supplier: str, dataset: str, chosen: str, proposed: str) -> str:
    """The dialect somebody chose; what was proposed for another dataset than the one it became is no choice."""
    return chosen if chosen != proposed or chosen in agreed_ever(visit.desk.pack, supplier, dataset) else ""


def _missing(dataset: str) -> str:
    return "recognised.no_period" if dataset else "recognised.no_dataset"


def _item(
    waiting: Waiting, dataset: str, period: str, dialect: str, reasons: Sequence[Mapping[str, str]], *, problem: str
) -> dict[str, Any]:
    return {
        "token": waiting.token, "file_name": waiting.file_name, "dataset": dataset, "period": period, "dialect": dialect,
        "reasons": reasons, "problem": problem,
    }  # fmt: skip


def _page(
    visit: Visit, supplier: str, items: Sequence[Mapping[str, Any]], *, taken: Sequence[Mapping[str, Any]] = (),
    left_out: int = 0, code: int = 200,
) -> Response:  # fmt: skip
    pack = visit.desk.pack
    owed = {name: pack.contracts[name] for name in pack.datasets_of(supplier)}
    return visit.page(
        "entry/recognised.html", code=code, supplier=pack.suppliers[supplier], contracts=owed, items=items, taken=taken,
        left_out=left_out, examples=EXAMPLES, dialects=to_choose_from(pack, supplier),
    )  # fmt: skip


def _owner(visit: Visit, supplier: str) -> str:
    return f"{visit.person.person_id} {supplier}"
