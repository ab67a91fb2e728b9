"""Words nobody knows, and the codes they stand for: mapped by who answers for the supplier, and judged again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException
from fastapi.responses import Response

from portal.visit import AVisit, Visit, door
from quality.errors import Refused
from quality.words import history, map_word, unknown_words, unmap_word
from storage.ledger.ledger import UnknownDelivery
from storage.paths import parse_delivery_id
from storage.words import BadWord

router = APIRouter()
Told = Annotated[str, Form()]


@door(router, "GET", "/lieferung/{delivery}/woerter", "word.map")
def unknown(visit: AVisit, delivery: str) -> Response:
    """The words of a delivery that stand for nothing, each with the codes it may be given."""
    return _unknown(visit, delivery)


@door(router, "POST", "/lieferung/{delivery}/woerter", "word.map")
def map_one(
    visit: AVisit, delivery: str, liste: Told = "", wort: Told = "", code: Told = "", grund: Told = ""
) -> Response:
    """Let a word stand for a code from now on; what was held back for it is judged again."""
    person = visit.person
    try:
        again = map_word(
            visit.desk, delivery, liste, wort, code, who=person.who, author=person.name, reason=grund
        )  # fmt: skip
    except UnknownDelivery:
        raise HTTPException(404) from None
    except BadWord:
        return _unknown(visit, delivery, problem="words.no_reason", code=422)
    except Refused:
        return _unknown(visit, delivery, problem="words.not_now", code=409)
    visit.note("word.map", delivery, list=liste, word=wort, code=code, again=again)
    return visit.go(f"/lieferung/{delivery}")


@door(router, "GET", "/woerter/{supplier}", "word.see")
def words(visit: AVisit, supplier: str) -> Response:
    """What a supplier's words stand for, by whom and why."""
    return _words(visit, supplier)


@door(router, "POST", "/woerter/{supplier}", "word.map")
def unmap(visit: AVisit, supplier: str, liste: Told = "", wort: Told = "", grund: Told = "") -> Response:
    """Take a mapping back; what was judged by it is judged again."""
    person = visit.person
    try:
        again = unmap_word(visit.desk, supplier, liste, wort, who=person.who, author=person.name, reason=grund)
    except BadWord:
        return _words(visit, supplier, problem="words.no_reason", code=422)
    except Refused:
        return _words(visit, supplier, problem="words.not_now", code=409)
    visit.note("word.unmap", supplier, list=liste, word=wort, again=again)
    return visit.go(f"/woerter/{supplier}")


def _unknown(visit: Visit, delivery: str, *, problem: str | None = None, code: int = 200) -> Response:
    try:
        findings = visit.desk.receipt(delivery)["findings"]
    except UnknownDelivery:
        raise HTTPException(404) from None
    base = parse_delivery_id(delivery)
    contract = visit.desk.pack.contracts.get(base.dataset)
    return visit.page(
        "words/unknown.html", code=code, delivery=delivery, base=base, title=contract.title if contract else {},
        unknown=list(unknown_words(visit.desk, delivery, findings)), problem=problem,
    )  # fmt: skip


def _words(visit: Visit, supplier: str, *, problem: str | None = None, code: int = 200) -> Response:
    pack = visit.desk.pack
    if supplier not in pack.suppliers:
        raise HTTPException(404)
    counting = {word.word_id for word in pack.words if word.code}
    return visit.page(
        "words/list.html", code=code, supplier=pack.suppliers[supplier], lines=history(visit.desk, supplier),
        counting=counting, lists=pack.code_lists, problem=problem,
        agreed=[m for m in pack.mappings if m.supplier == supplier and not m.mapped_by.startswith("portal:")],
    )  # fmt: skip
