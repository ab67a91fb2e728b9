"""What is raised when something cannot be done. What is wrong with a delivery is a verdict, never one of these."""

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


class Refused(ValueError):
    """A delivery that cannot even be received: nobody of this name, no such dataset, no such period.

    Attributes: `expected` and `found`, for a person.
    """

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"expected {expected}, found {found}")


class NotAgreed(Refused):
    """The dialect that was chosen is not agreed for supplier, dataset and period."""
