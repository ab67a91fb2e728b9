"""The receipt as a workbook. Not written yet."""

from __future__ import annotations

from pathlib import Path

from quality.receipt import Sent
from quality.verdict import Verdict


def write(verdict: Verdict, sent: Sent, to: Path) -> Path | None:
    """No workbook so far."""
    return None
