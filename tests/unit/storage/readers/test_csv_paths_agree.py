"""The fast path for large files may be taken only where it gives the table of the exact path."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from storage.readers import csv as exact
from storage.readers.base import FormatSpec, Unreadable
from storage.readers.csv_fast import land_fast
from storage.readers.landing import BLANK

CELLS = st.text(st.sampled_from(list("ab1 ,.-ä€ß\u00a0\t\x1a")), max_size=4)
PLAIN = st.text(st.sampled_from("ab19,.ä"), min_size=1, max_size=5)


def _both(content: bytes, encoding: str, **layout: object) -> tuple[pl.DataFrame | None, pl.DataFrame]:
    """What the fast path lands (None where it declines), and what the exact path lands."""
    with tempfile.TemporaryDirectory() as folder:
        source, fast_to, exact_to = (Path(folder) / name for name in ("sent", "fast.parquet", "exact.parquet"))
        source.write_bytes(content)
        spec = FormatSpec.model_validate({"type": "csv", "encoding": encoding, "delimiter": ";"} | layout)
        head = exact.layout_of(source, spec)
        fast = land_fast(source, spec, fast_to, head, blank=BLANK, longest=exact.MAX_CELL)
        wanted = exact.land_exactly(source, spec, exact_to, head)
        if fast is None:
            assert not fast_to.exists()
            return None, pl.read_parquet(exact_to)
        assert (fast.columns, fast.rows, fast.notes, fast.units) == (
            wanted.columns,
            wanted.rows,
            wanted.notes,
            wanted.units,
        )
        assert list(Path(folder).glob("*.utf8")) == []
        return pl.read_parquet(fast_to), pl.read_parquet(exact_to)


@settings(max_examples=120, deadline=None)
@given(
    width=st.integers(1, 4),
    body=st.lists(st.lists(CELLS, min_size=0, max_size=4), max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
    last_end=st.booleans(),
    encoding=st.sampled_from(["utf-8", "cp1252", "utf-16", "utf-8-sig"]),
    even=st.booleans(),
    header_rows=st.integers(0, 2),
)
def test_where_the_fast_path_lands_a_file_the_exact_path_lands_the_same(
    width: int, body: list[list[str]], end: str, last_end: bool, encoding: str, even: bool, header_rows: int
) -> None:
    rows = [(row + [""] * width)[:width] if even else row for row in body]
    lines = [";".join(f"k{nth}" for nth in range(width))] * 2 + [";".join(row) for row in rows]
    content = end.join(lines) + (end if last_end else "")
    fast, wanted = _both(content.encode(encoding, "replace"), encoding, header={"rows": header_rows, "row": 1})
    if fast is not None:
        assert_frame_equal(fast, wanted)


@settings(max_examples=40, deadline=None)
@given(
    body=st.lists(st.lists(PLAIN, min_size=3, max_size=3), min_size=1, max_size=20),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "cp1252", "utf-16"]),
)
def test_plain_files_take_the_fast_path(body: list[list[str]], end: str, encoding: str) -> None:
    content = end.join(["x;y;z", *(";".join(row) for row in body)])
    fast, wanted = _both(content.encode(encoding), encoding)
    assert fast is not None
    assert_frame_equal(fast, wanted)


@pytest.mark.parametrize(
    "content",
    [
        b'a;b\n1;"2"\n',
        b"a;b\n1;2;3\n",
        b"a;b\n1\n2;3\n",
        b"a;b\n\n1;2\n",
        b"a;b\n1;2\r3;4\n",
        b"a;b\n1;2\n3",
    ],
    ids=["quotes", "too_many_cells", "too_few_cells", "blank_line", "lone_return", "last_line_short"],
)
def test_what_is_not_plain_takes_the_exact_path(content: bytes) -> None:
    fast, _ = _both(content, "utf-8")
    assert fast is None


def test_blank_lines_within_plain_ones_keep_the_numbers_of_the_lines_after_them() -> None:
    fast, wanted = _both(b"a;b\n1;2\n;\n  ; \n3;4\n", "utf-8")
    assert fast is not None
    assert fast["delivered_line"].to_list() == [2, 5]
    assert fast["delivered_row"].to_list() == [1, 2]
    assert_frame_equal(fast, wanted)


def test_large_files_are_landed_by_the_fast_path_across_its_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.readers.csv_fast.CHUNK", 7)
    monkeypatch.setattr("storage.readers.csv.SMALLEST", 0)
    monkeypatch.setattr("storage.readers.csv.land_exactly", lambda *_: pytest.fail("took the exact path"))
    source = tmp_path / "sent"
    source.write_bytes("".join(["a;b;c\r\n", *(f"{n};x{n};ü\r\n" for n in range(500))]).encode("cp1252"))
    landed = exact.read(
        source, FormatSpec(type="csv", encoding="cp1252", delimiter=";"), tmp_path / "to", name="sent.csv"
    )
    assert landed.rows == 500
    assert pl.read_parquet(landed.path)["c"].unique().to_list() == ["ü"]


def test_one_endless_line_is_refused_before_it_is_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.readers.csv.MAX_LINE", 1000)
    source = tmp_path / "sent"
    source.write_bytes(b"a" * 2000)
    with pytest.raises(Unreadable) as refused:
        exact.read(source, FormatSpec(type="csv"), tmp_path / "to", name="sent.csv")
    assert refused.value.rule == "file.too_large"
