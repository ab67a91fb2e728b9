"""What is raised when judging could not be done. What is wrong with a delivery is a verdict, never one of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PlatformTrouble(Exception):
    """The work could not be done; nothing changes state and it is tried again.

    Attributes:
        what: What could not be done, for an engineer.
        cause: The words of whatever failed.
        rules: Ids of the rules that could not be answered, where it is known which.
        facts: Everything else that helps to find the reason (`relation`, …).
    """

    def __init__(self, what: str, *, cause: str, rules: Sequence[str] = (), **facts: Any) -> None:
        self.what, self.cause, self.rules, self.facts = what, cause, tuple(rules), facts
        named = f" (rules: {', '.join(self.rules)})" if self.rules else ""
        super().__init__(f"{what}{named}: {cause}")
