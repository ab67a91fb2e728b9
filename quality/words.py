"""Mapping words nobody knows while the platform runs: who maps one names delivery, word and code, and the reason.

What was mapped so lies in the ledger, beside the region pack's `mappings.csv`, and goes before it. What it changes is
judged again: deliveries that count and were held back, or were judged, by another state of the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quality.codelists import Code, CodeList, lookup_key
from quality.desk import Desk
from quality.errors import Refused
from quality.judging import ring
from quality.replay import candidates
from storage.paths import parse_delivery_id
from storage.periods import period as read_period
from storage.words import Word

UNKNOWN = "values.unknown_code"


@dataclass(frozen=True)
class UnknownWord:
    """A word of a delivery that stands for nothing, with the codes it may be given and those that come nearest."""

    word: str
    column: str
    code_list: CodeList
    codes: tuple[Code, ...]
    near: tuple[str, ...]


def unknown_words(desk: Desk, delivery_id: str, findings: Sequence[Mapping[str, Any]]) -> Iterator[UnknownWord]:
    """The words of a delivery that may be mapped, in the order of its verdict's examples.

    Args:
        desk: Whose words and codes hold.
        delivery_id: Of a delivery that is known.
        findings: Of its receipt.
    """
    base = parse_delivery_id(delivery_id)
    pack, period = desk.pack, read_period(base.period)
    contract = pack.contracts.get(base.dataset)
    if contract is None:
        return
    seen: set[tuple[str, str]] = set()
    for example in (e for f in findings if f["rule"] == UNKNOWN for e in f["examples"]):
        name, word = example.get("field") or "", example.get("value") or ""
        if name not in contract.by_name or not word.strip():
            continue
        code_list = pack.code_lists[contract.by_name[name].code_list or "area"]
        key = (code_list.spec.id, lookup_key(word))
        if key in seen:
            continue
        seen.add(key)
        codes = tuple(code for code in code_list.entries if code.valid_between(period.start, period.end))
        near = code_list.nearest(word, pack.words_of(base.supplier, code_list.spec.id))
        yield UnknownWord(word, str(example.get("column") or name), code_list, codes, near)


def map_word(
    desk: Desk, delivery_id: str, code_list: str, word: str, code: str, *, who: str, author: str, reason: str
) -> list[str]:
    """Let a word of a delivery stand for a code from now on, for its supplier, and have judged again what that changes.

    Returns:
        The deliveries that are judged again, as soon as a judge is free.

    Raises:
        UnknownDelivery: There is none of this id.
        Refused: Nobody asks for this word any more, or the code is none of its list in the delivery's period.
        storage.words.BadWord: The reason is missing or too long.
    """
    findings = desk.receipt(delivery_id)["findings"]
    open_ones = {(o.code_list.spec.id, lookup_key(o.word)): o for o in unknown_words(desk, delivery_id, findings)}
    asked = open_ones.get((code_list, lookup_key(word)))
    if asked is None:
        raise Refused(f"an unknown word of {delivery_id}", f"{word!r} of {code_list}")
    if code not in {one.code for one in asked.codes}:
        raise Refused(f"a code of {code_list} that holds in the period", code)
    supplier = parse_delivery_id(delivery_id).supplier
    desk.words.map(
        code_list, supplier, asked.word, code, who=who, author=author, reason=reason, delivery_id=delivery_id
    )
    return _judge_again(desk, supplier, code_list, held_only=True)


def unmap_word(
    desk: Desk, supplier: str, code_list: str, word: str, *, who: str, author: str, reason: str
) -> list[str]:
    """Let a word that was mapped here stand for nothing any more, and have judged again what that changes.

    Returns:
        The deliveries that are judged again.

    Raises:
        Refused: It was not mapped here.
        storage.words.BadWord: The reason is missing or too long.
    """
    desk.look_for_words()
    mapped = {(one.code_list, lookup_key(one.word)) for one in desk.pack.words if one.supplier == supplier and one.code}
    if (code_list, lookup_key(word)) not in mapped:
        raise Refused("a word that was mapped here", f"{word!r} of {code_list}")
    desk.words.map(code_list, supplier, word, None, who=who, author=author, reason=reason)
    return _judge_again(desk, supplier, code_list, held_only=False)


def history(desk: Desk, supplier: str) -> list[Word]:
    """Every line about a supplier's words, the newest first."""
    return [one for one in reversed(desk.words.everything()) if one.supplier == supplier]


def _judge_again(desk: Desk, supplier: str, code_list: str, *, held_only: bool) -> list[str]:
    desk.look_for_words()
    lists = {
        name: {field.code_list or ("area" if field.format == "ags" else None) for field in contract.fields}
        for name, contract in desk.pack.contracts.items()
    }
    changed = [
        view.delivery_id for view in candidates(desk, supplier=supplier) if code_list in lists.get(view.dataset, ())
    ]
    if held_only:
        bodies = desk.ledger.verdicts(changed)
        held = {one for one, body in bodies.items() if any(f["rule"] == UNKNOWN for f in body.get("findings", ()))}
        changed = [one for one in changed if one in held]
    desk.ledger.owe_replays(changed)
    ring(desk.settings)
    return changed
