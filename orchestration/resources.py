"""What assets and jobs are handed: the desk of the home and region that the environment names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from quality.desk import Desk
from storage.settings import Settings


class DeskResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens a desk for the time it is needed; home and region come from `VERBUND_…`, as everywhere."""

    @property
    def settings(self) -> Settings:
        """Settings as the environment of this process has them."""
        return Settings()

    @contextmanager
    def open(self, who: str = "dagster") -> Iterator[Desk]:
        """A desk whose verdicts are given under the name `who`."""
        desk = Desk(self.settings, who=who)
        try:
            yield desk
        finally:
            desk.close()
