"""Entering a small table in the browser: a form made from the contract, kept as a draft, handed in like any file."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from quality import judging
from quality.checking import CannotCheck, CheckBusy
from quality.entry import EntryForm, Notes, can_be_entered, entry_form
from quality.errors import PlatformTrouble, Refused
from storage.periods import EXAMPLES

router = APIRouter()
_CELL = re.compile(r"r(\d{1,3})\.(\w{1,61})")
#: So many empty lines stand under what is there.
SPARE, MORE = 3, 10


async def _sent(request: Request) -> dict[str, str]:
    return {name: text for name, text in (await request.form()).items() if isinstance(text, str)}


Sent = Annotated[dict[str, str], Depends(_sent)]


@door(router, "GET", "/eingeben/{supplier}", "entry.write")
def choose(visit: AVisit, supplier: str) -> Response:
    """What can be entered, and what was begun."""
    pack = visit.desk.pack
    if supplier not in pack.suppliers:
        raise HTTPException(404)
    contracts = [pack.contracts[name] for name in pack.datasets_of(supplier) if can_be_entered(pack.contracts[name])]
    return visit.page(
        "entry/choose.html", supplier=pack.suppliers[supplier], contracts=contracts, examples=EXAMPLES,
        drafts=visit.services.drafts.of(visit.person.person_id, supplier), titles={c.dataset: c.title for c in contracts},
    )  # fmt: skip


@door(router, "GET", "/eingeben/{supplier}/{dataset}", "entry.write")
def begin(visit: AVisit, supplier: str, dataset: str, period: str = "") -> Response:
    """The form, with what was kept or with the lines of the last time."""
    if not period.strip():
        return visit.go(f"/eingeben/{supplier}")
    form = _form_of(visit, supplier, dataset, period)
    draft = visit.services.drafts.get(visit.person.person_id, form.slot)
    rows = list(draft.rows) if draft else form.first_rows()
    return _page(visit, form, rows, draft=draft)


@door(router, "POST", "/eingeben/{supplier}/{dataset}", "entry.write")
def work_on(
    visit: AVisit, supplier: str, dataset: str, sent: Sent, period: Annotated[str, Form()] = "",
    act: Annotated[str, Form()] = "save",
) -> Response:  # fmt: skip
    """Keep what was entered, look at it, give it more room, hand it in or throw it away."""
    form = _form_of(visit, supplier, dataset, period)
    who = visit.person.person_id
    if act == "discard":
        visit.services.drafts.drop(who, form.slot)
        return visit.go(f"/eingeben/{supplier}")
    rows = _rows(form, sent)
    kept = [row for row in rows if not form.is_blank(row)]
    visit.services.drafts.save(who, form.slot, kept)
    if act == "more":
        return _page(visit, form, kept, spare=MORE, saved=True)
    if act == "hand_in":
        if not kept:
            return _page(visit, form, kept, problem="entry.nothing", code=422)
        delivery = visit.desk.receive(
            io.BytesIO(form.file(kept)), supplier, dataset, period, file_name=form.file_name, who=visit.person.who,
            origin="portal",
        )  # fmt: skip
        visit.services.drafts.save(who, form.slot, kept, delivery_id=delivery.delivery_id)
        visit.note("delivery.hand_in", delivery.delivery_id, sha256=delivery.sha256, entered=len(kept))
        judging.ring(visit.desk.settings)
        return visit.go(f"/lieferung/{delivery.delivery_id}")
    receipt = _look(visit, form, kept) if kept else None
    notes = form.notes(receipt, range(len(kept))) if receipt else Notes()
    return _page(visit, form, kept, notes=notes, receipt=receipt, saved=True)


@door(router, "POST", "/eingeben/{supplier}/{dataset}/zeile", "entry.write")
def look_at_row(
    visit: AVisit, supplier: str, dataset: str, sent: Sent, period: Annotated[str, Form()] = "",
    place: Annotated[int, Form()] = 0,
) -> Response:  # fmt: skip
    """What is wrong with one line, for a form whose cell was left."""
    form = _form_of(visit, supplier, dataset, period)
    row = _row(form, sent, place)
    receipt = None if form.is_blank(row) else _look(visit, form, [row])
    notes = form.notes(receipt, [place]) if receipt else Notes()
    return visit.page("entry/notes.html", notes=notes.of_row(place))


def _form_of(visit: Visit, supplier: str, dataset: str, period: str) -> EntryForm:
    if not period.strip():
        raise HTTPException(422)
    try:
        return entry_form(visit.desk, supplier, dataset, period.strip())
    except Refused:
        raise HTTPException(404) from None


def _rows(form: EntryForm, sent: Mapping[str, str]) -> list[dict[str, str]]:
    places = sorted({int(match[1]) for name in sent if (match := _CELL.fullmatch(name))})
    rows = [_row(form, sent, place) for place in places if f"r{place}.drop" not in sent]
    return rows[: form.most_rows]


def _row(form: EntryForm, sent: Mapping[str, str], place: int) -> dict[str, str]:
    start = f"r{place}."
    cells = {name.removeprefix(start): text for name, text in sent.items() if name.startswith(start)}
    return form.cleaned(cells) | form.settled


def _look(visit: Visit, form: EntryForm, rows: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """The verdict these lines would get; None where there is none now."""
    slot = form.slot
    with tempfile.TemporaryDirectory(dir=visit.desk.home.work, prefix="entry-") as folder:
        file = Path(folder) / form.file_name
        file.write_bytes(form.file(rows))
        try:
            return visit.services.checks.check(file, slot.supplier, slot.dataset, slot.period, file_name=form.file_name)
        except (CannotCheck, CheckBusy, PlatformTrouble):
            # the draft is kept all the same
            return None


def _page(
    visit: Visit, form: EntryForm, rows: Sequence[Mapping[str, str]], *, notes: Notes | None = None, code: int = 200,
    spare: int = SPARE, **told: Any,
) -> Response:  # fmt: skip
    blank = [form.settled] * min(max(spare, 5 - len(rows)), max(form.most_rows - len(rows), 0))
    known: dict[str, Any] = {"problem": None, "receipt": None, "saved": False, "draft": None, **told}
    return visit.page(
        "entry/grid.html", code=code, form=form, rows=[*rows, *blank], notes=notes or Notes(),
        supplier=visit.desk.pack.suppliers[form.slot.supplier], **known,
    )  # fmt: skip
