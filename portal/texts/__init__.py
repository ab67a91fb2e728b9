"""The portal's own words: one catalogue per language, looked up by key. What receipts say is in `quality.messages`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po

from quality.messages import LANGUAGES, Language

__all__ = ["LANGUAGES", "Language", "keys", "text"]


def text(key: str, language: Language, **facts: object) -> str:
    """A text with its blanks filled.

    Raises:
        KeyError: There is no such text in this language.
    """
    return _catalogue(language)[key].format(**facts)


def keys(language: Language) -> frozenset[str]:
    """All keys of one catalogue."""
    return frozenset(_catalogue(language))


@cache
def _catalogue(language: Language) -> dict[str, str]:
    file = Path(__file__).parent / language / "LC_MESSAGES" / "portal.po"
    with file.open("rb") as opened:
        return {str(m.id): str(m.string) for m in read_po(opened) if m.id and isinstance(m.string, str)}
