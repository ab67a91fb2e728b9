"""Patterns of keys, as people write them for files: `*.csv`, `2025/*.csv`, `**/*.csv`.

`*`, `?` and `[…]` stay within one part of a key; `**` stands for any folders, none among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

_ANY = "**"


def checked_pattern(pattern: str) -> str:
    """The pattern itself, if it can fit a key.

    Raises:
        ValueError: It is empty or absolute, or has a part that is empty, `.` or `..`.
    """
    if any(part in ("", ".", "..") for part in pattern.split("/")):
        raise ValueError(f"{pattern!r} is no pattern of files: parts between '/' are not empty, '.' or '..'")
    return pattern


def fits(pattern: str, key: str) -> bool:
    """Whether a key is one the pattern means."""
    return _fits(pattern.split("/"), key.split("/"))


def leads_into(pattern: str, folder: str) -> bool:
    """Whether something in a folder (without a `/` at its end) may fit the pattern."""
    return _leads_into(pattern.split("/"), folder.split("/"))


def beginning(pattern: str) -> str:
    """What every key that fits begins with: the pattern up to its first sign."""
    return pattern[: next((at for at, sign in enumerate(pattern) if sign in "*?["), len(pattern))]


def _fits(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == _ANY for part in pattern)
    if pattern[0] == _ANY:
        return _fits(pattern[1:], parts) or _fits(pattern, parts[1:])
    return fnmatchcase(parts[0], pattern[0]) and _fits(pattern[1:], parts[1:])


def _leads_into(pattern: Sequence[str], folders: Sequence[str]) -> bool:
    if not folders:
        return bool(pattern)
    if not pattern:
        return False
    if pattern[0] == _ANY:
        return True
    # the last part names files
    return len(pattern) > 1 and fnmatchcase(folders[0], pattern[0]) and _leads_into(pattern[1:], folders[1:])
