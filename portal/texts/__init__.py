"""The portal's own words, looked up by key: per language a catalogue for each group of pages, `portal.po` for what all share.

What receipts say is in `quality.messages`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

from babel.messages.pofile import read_po

from quality.messages import LANGUAGES, Language

__all__ = ["LANGUAGES", "Language", "keys", "language", "raw", "text"]


def text(key: str, language: Language, **facts: object) -> str:
    """A text with its blanks filled.

    Raises:
        KeyError: There is no such text in this language.
    """
    return raw(key, language).format(**facts)


def raw(key: str, language: Language) -> str:
    """A text with its blanks open.

    Raises:
        KeyError: There is no such text in this language.
    """
    return _catalogue(language)[key]


def keys(language: Language) -> frozenset[str]:
    """All keys of one catalogue."""
    return frozenset(_catalogue(language))


def language(wanted: str) -> Language:
    """The language somebody wants, as far as there are texts in it."""
    return cast(Language, wanted) if wanted in LANGUAGES else "de"


@cache
def _catalogue(language: Language) -> dict[str, str]:
    told: dict[str, str] = {}
    for file in sorted((Path(__file__).parent / language / "LC_MESSAGES").glob("*.po")):
        with file.open("rb") as opened:
            found = {str(m.id): str(m.string) for m in read_po(opened) if m.id and isinstance(m.string, str)}
        if twice := told.keys() & found.keys():
            raise ValueError(f"{file.name} says again what another catalogue says: {', '.join(sorted(twice))}")
        told |= found
    return told
