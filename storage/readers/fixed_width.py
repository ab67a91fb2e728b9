"""Lines of fixed width: columns by character positions, record types told apart by a pattern."""

from __future__ import annotations

import re
from pathlib import Path

from storage.readers.base import FormatSpec, Landed, Note, Unreadable
from storage.readers.csv import MAX_CELL, refuse_endless_lines
from storage.readers.landing import BLANK, Landing, unique_names
from storage.readers.sniff import kind_of, text_of, wrong_kind


def read(source: Path, spec: FormatSpec, to: Path, *, name: str) -> Landed:
    """Land a file of fixed width; see `storage.readers.base.read`.

    Positions count characters, not bytes. Blanks that fill a column up are no content and are taken off; blank lines
    are not rows. The header part of the layout has no meaning here. Lines of other record types are cut like all others.
    """
    if spec.widths is None:
        raise ValueError("a fixed_width layout needs `widths`")
    kind = kind_of(source)
    if kind.word != "text":
        raise wrong_kind(kind, "a text file with columns of fixed width")
    refuse_endless_lines(source)
    text = text_of(source, spec.encoding)
    columns = unique_names(list(spec.widths))
    cuts = [slice(first - 1, last) for first, last in spec.widths.values()]
    shape = re.compile(spec.only_lines) if spec.only_lines else None
    longest = kept = 0
    with source.open(encoding=text.encoding, newline=None) as file, Landing(to, columns) as landing:
        for number, line in enumerate(file, start=1):
            content = line.rstrip("\n")
            if not content.strip(BLANK):
                continue
            if len(content) > MAX_CELL:
                raise Unreadable(
                    "file.too_large",
                    expected=f"lines of at most {MAX_CELL} characters",
                    found=f"{len(content)} characters",
                    line=number,
                )
            longest = max(longest, len(content))
            other = shape is not None and shape.search(content) is None
            kept += not other
            landing.add(
                number,
                [content[cut].strip(BLANK) for cut in cuts],
                ignored_by="rows.other_record" if other else None,
            )
    notes: tuple[Note, ...] = ()
    # one line as long as the layout says is enough: editors and mail programs cut trailing blanks off
    shortest_layout = max(cut.start for cut in cuts) + 1
    if longest < shortest_layout:
        notes = (
            Note("columns.ragged", "warning", {"rows": landing.rows, "expected": shortest_layout, "found": longest}),
        )
    return Landed(to, columns, ("",) * len(columns), landing.rows, (*text.notes, *notes))
