"""Pictures of figures, drawn here as SVG by matplotlib: text as paths, so that every browser shows the same.

What may be shown is decided before; a picture is kept by what it shows, so the same one is drawn once.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from portal.texts import Language, text
from quality import messages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A value beside what it is of; None is a gap and stays one.
Point = tuple[str, float | None]
#: More bars than these nobody reads; those next to one's own are kept.
MOST_BARS = 40
_INK, _BAR, _OWN = "#171a2b", "#8a93b8", "#0b3fb3"
# fonts and tick locators of matplotlib are kept in globals
_ONE_AT_A_TIME = threading.Lock()


@lru_cache(maxsize=512)
def series(points: tuple[Point, ...], unit: str, language: Language) -> bytes:
    """Values over time. A gap breaks the line."""

    def draw(axes: Axes) -> None:
        axes.plot(
            range(len(points)), [float("nan") if value is None else value for _, value in points],
            color=_OWN, marker="o", linewidth=2,
        )  # fmt: skip
        shown = range(0, len(points), max(1, len(points) // 8))
        axes.set_xticks(list(shown), [points[place][0] for place in shown])
        axes.set_xlim(-0.5, len(points) - 0.5)
        _in_words(axes.yaxis, axes.set_ylabel, unit, language)
        known = [value for _, value in points if value is not None]
        if min(known, default=0) >= 0:
            # from zero, so that a small change looks small
            axes.set_ylim(0, max(known, default=0) * 1.08 or 1)

    return _drawn(draw, height=3.2)


@lru_cache(maxsize=512)
def places(points: tuple[Point, ...], own: int, unit: str, language: Language) -> bytes:
    """One bar for each area that has a value, in the order given; one's own, at place `own`, is marked."""
    kept = around(points, own)

    def draw(axes: Axes) -> None:
        spots = range(len(kept))
        is_own = [place == own for place, _ in kept]
        axes.barh(
            spots, [value for _, (_, value) in kept if value is not None], height=0.7,
            color=[_OWN if mine else _BAR for mine in is_own],
        )  # fmt: skip
        names = [f"▸ {name}" if mine else name for mine, (_, (name, _)) in zip(is_own, kept, strict=True)]
        axes.set_yticks(spots, names)
        axes.invert_yaxis()
        _in_words(axes.xaxis, axes.set_xlabel, unit, language)

    return _drawn(draw, height=0.9 + 0.32 * len(kept))


def around(points: Sequence[Point], own: int) -> list[tuple[int, Point]]:
    """Those that have a value, each with its place, and of many the ones next to one's own."""
    told = [(place, point) for place, point in enumerate(points) if point[1] is not None]
    at = next((at for at, (place, _) in enumerate(told) if place == own), 0)
    first = max(0, min(at - MOST_BARS // 2, len(told) - MOST_BARS))
    return told[first : first + MOST_BARS]


def _in_words(axis: Any, label: Callable[[str], object], unit: str, language: Language) -> None:
    """Numbers and unit as people write them in their language."""
    factor = 100 if unit == "share" else 1
    axis.set_major_formatter(lambda value, _: messages.number(float(f"{value * factor:.6g}"), language))
    label("%" if unit == "share" else text(f"unit.{unit}", language))


def _drawn(draw: Callable[[Axes], None], *, height: float) -> bytes:
    # a second to import, and only for who looks at a picture
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    quiet: Any = {
        "svg.fonttype": "path", "svg.hashsalt": "verbund", "text.parse_math": False, "font.size": 11, "text.color": _INK, "axes.labelcolor": _INK,
        "axes.edgecolor": _INK, "xtick.color": _INK, "ytick.color": _INK, "axes.spines.top": False,
        "axes.spines.right": False,
    }  # fmt: skip
    with _ONE_AT_A_TIME, rc_context(quiet):
        figure: Figure = Figure(figsize=(7.5, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        written = io.BytesIO()
        # the same picture is the same bytes
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
