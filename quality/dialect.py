"""Dialects: how one supplier's file of a dataset looks, as configuration.

A dialect says where the cells of a contract's fields are found, in which local words, marks and units. The bytes are
read by `storage.readers`; the cells are converted by `quality.conversion`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from quality.units import interval_minutes
from storage.readers import FormatSpec


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Column(_Strict):
    """Where a field's text comes from: exactly one of `source`, `constant`, `file_name`, `sheet` and `period`.

    `from` names a delivered column (or several, joined by a blank: date and time in two columns). `file_name` and `sheet`
    are regular expressions with one group, on the file's name and on that of the sheet or part of an archive;
    `period: true` takes the slot's period (`2024`, `2024-07`). `default` stands in
    for an empty cell, and must be a code of the field's list: it never invents a quantity.
    """

    source: str | Sequence[str] | None = Field(default=None, alias="from")
    constant: str | None = None
    file_name: str | None = None
    sheet: str | None = None
    period: bool = False
    optional: bool = False
    """The column may be absent from a file; its cells are empty then. Formats that leave out what is empty need it."""
    default: str | None = None
    mapping: bool = True
    """False: the supplier's words are not looked up in the pack's mappings."""
    unit: str | None = None
    interval: str | None = None
    """ISO 8601 duration a power value stands for, so that kW becomes kWh: PT15M, PT1H."""
    formats: Sequence[str] = ()
    """strptime formats of this field where they differ from the dialect's `dates` and `times`."""
    zone: str | None = None
    crs: str | None = Field(default=None, pattern=r"^EPSG:[0-9]{4,5}$")
    """Which system coordinates are in where a file does not say: `EPSG:25832`."""
    measure: Literal["area", "length", "x", "y"] | None = None
    """What is taken from a geometry: square metres, metres, or a point inside, in the system geometries are kept in."""
    label: Literal["start", "end"] = "start"
    """Whether a timestamp names the start or the end of its interval; `end` needs `interval`."""

    @model_validator(mode="after")
    def _one_origin(self) -> Column:
        patterns = (self.file_name is not None, self.sheet is not None)
        if sum([self.source is not None, self.constant is not None, *patterns, self.period]) != 1:
            raise ValueError("give exactly one of from, constant, file_name, sheet and period")
        if self.optional and self.source is None:
            raise ValueError("optional belongs to from: only a column can be absent")
        if self.label == "end" and not self.interval:
            raise ValueError("label: end needs an interval (PT15M), by which the timestamp is moved to the start")
        return self

    @field_validator("file_name", "sheet")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        return pattern and _pattern(pattern)

    @field_validator("interval")
    @classmethod
    def _is_a_duration(cls, interval: str | None) -> str | None:
        return interval and _duration(interval)

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str | None) -> str | None:
        return zone and known_zone(zone)

    @property
    def sources(self) -> tuple[str, ...]:
        if self.source is None:
            return ()
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)


class Ignore(_Strict):
    """A rule that takes delivered rows out before judging (totals, other levels). Counted as `ignored_by_rule`."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    column: str
    matches: str
    """Regular expression that must be found in the cell."""
    because: Mapping[str, str]

    @property
    def rule(self) -> str:
        return f"rows.{self.id}"

    @field_validator("matches")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        return _pattern(pattern)


class Pivot(_Strict):
    """Wide to long: every named column of a row becomes a row of its own.

    `columns` maps a delivered column to the text its rows carry in other fields:
    `{rest: {waste_code: "200301"}, bio: {waste_code: "200108"}}`. `matching` takes every column whose name matches, and
    `into` fills fields from its groups: `{area_code: "\\1"}`.
    """

    value: str
    columns: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    matching: str | None = None
    into: Mapping[str, str] = Field(default_factory=dict)
    unit: str | None = None
    interval: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Pivot:
        if bool(self.columns) == bool(self.matching):
            raise ValueError("give either columns or matching")
        return self

    @field_validator("matching")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        return pattern and _pattern(pattern)

    @field_validator("interval")
    @classmethod
    def _is_a_duration(cls, interval: str | None) -> str | None:
        return interval and _duration(interval)


class Recognise(_Strict):
    """How a file in the inbox is told apart: a pattern its name must match, with an optional group `period`."""

    file_name: str

    @field_validator("file_name")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        return _pattern(pattern)


class Dialect(_Strict):
    """One supplier's way of writing a dataset. Many mandates may share one."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{2,80}$")
    dataset: str
    note: str = ""
    recognise: Recognise | None = None
    format: FormatSpec
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'"] | None = None
    null: Sequence[str] = ()
    dates: Sequence[str] = ("%Y-%m-%d",)
    times: Sequence[str] = ("iso",)
    """strptime formats of timestamps; `iso` is ISO 8601 with its zone (`2025-03-30T02:00:00+01:00`)."""
    zone: str = "Europe/Berlin"
    booleans: Mapping[str, Sequence[str]] = Field(
        default_factory=lambda: {
            "true": ("true", "ja", "j", "x", "1", "wahr"),
            "false": ("false", "nein", "n", "0", "falsch"),
        }
    )
    ignore: Sequence[Ignore] = ()
    columns: Mapping[str, Column]
    pivot: Pivot | None = None

    @field_validator("columns", mode="before")
    @classmethod
    def _short_form(cls, columns: Any) -> Any:
        """`area_code: AGS` is short for `area_code: {from: AGS}`."""
        if not isinstance(columns, Mapping):
            return columns
        return {name: {"from": value} if isinstance(value, str) else value for name, value in columns.items()}

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        return known_zone(zone)

    @field_validator("format")
    @classmethod
    def _format_has_patterns(cls, spec: FormatSpec) -> FormatSpec:
        parts = spec.archive.parts if spec.archive else None
        for pattern in (spec.stop_at, spec.only_lines, spec.sheets, parts):
            if pattern is not None:
                _pattern(pattern)
        if spec.type == "xml":
            # imported here: most packs have no use for it
            from storage.readers.xml import check

            check(spec)
        return spec

    @model_validator(mode="after")
    def _marks_differ(self) -> Dialect:
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands mark must differ")
        return self

    def layout(self) -> FormatSpec:
        """What a reader needs: the format, expected columns, and how numbers and dates are to be written."""
        told = {"expected_columns": self.delivered_columns(), "decimal": self.decimal}
        return self.format.model_copy(update={**told, "dates": self.dates[0] if self.dates else None})

    def delivered_columns(self) -> tuple[str, ...]:
        """Names the file must have, in the sender's words."""
        names = [source for column in self.columns.values() for source in column.sources]
        names += [ignore.column for ignore in self.ignore]
        names += list(self.pivot.columns) if self.pivot else []
        return tuple(dict.fromkeys(names))


def known_zone(zone: str) -> str:
    """The name of a time zone, checked."""
    if zone not in available_timezones():
        raise ValueError(f"{zone!r} is not a time zone; zones look like Europe/Berlin and Etc/GMT-1")
    return zone


def _duration(text: str) -> str:
    interval_minutes(text)
    return text


def _pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern
