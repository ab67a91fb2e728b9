"""How a receipt's files come to be: names that are safe, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Names that may become file names; delivery ids are of this shape, whatever else arrives is hashed.
_STEM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}")


def safe_stem(name: str) -> str:
    """A file name without ending for any text: the text itself where it is harmless, else a short hash of it."""
    return name if _STEM.fullmatch(name) else hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]


def write_text(path: Path, text: str) -> None:
    """Replace `path` by this text in UTF-8; what UTF-8 cannot hold becomes a question mark."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a name to write to that becomes `path` in one step when the block ends well, and vanishes otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
