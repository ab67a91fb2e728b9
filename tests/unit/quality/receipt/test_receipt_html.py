"""The page reads well and no cell of a file ever becomes part of it unescaped."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from receipt_samples import FINDINGS, sent_of, verdict_of

from quality.receipt import html, receipt_document
from quality.receipt.html import visible
from quality.verdict import Changes, Example, Finding, RowCounts

NASTY = st.one_of(
    st.sampled_from(
        ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'--><svg/onload=x>", "</style><b>", "&lt;", "{{ 7*7 }}",
         "\x00\x07\x1b[31m", "\u202e\u2066moc", "]]>", "javascript:x"]
    ),
    st.text(max_size=60),
)  # fmt: skip


class Tags(HTMLParser):
    """Collects what a browser would see: tags with attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.text += " " if tag in {"td", "th", "p", "div"} else ""

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    return tags


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(NASTY)
def test_no_text_from_outside_becomes_markup(tmp_path: Path, nasty: str) -> None:
    def page(text: str) -> str:
        example = Example(1, text, text, text, {"de": text, "en": text}, (text,))
        findings = [
            Finding("values.not_a_number", "error", 1, {"columns": [text], "expected": text}, (example,)),
            Finding(text, "warning", 3, {"kind": text, "because": {"de": text, "en": text}, "found": text}),
            Finding("unexpected_rows", "warning", 3, {"remedy": {"de": text, "en": text}, "values": [text]}),
        ]
        verdict = verdict_of(findings, changes=Changes(0, 0, 0, {text: (1.0, 2.0)}), delivery=text, period=text)
        sent = sent_of(tmp_path, marks=[], file_name=text, supplier_name=text, dataset_title={"de": text, "en": text})
        return html.receipt(receipt_document(verdict, sent))

    # the same tags with the same attributes as with a harmless text of that place, whatever the text
    harmless = "x" if nasty else ""
    assert seen(page(nasty)).tags == seen(page(harmless)).tags


@settings(deadline=None)
@given(NASTY)
def test_no_text_from_outside_becomes_markup_at_arrival(nasty: str) -> None:
    def page(text: str) -> str:
        known = {"delivery": text, "supplier_name": text, "file_name": text, "sha256": text, "size": 1, "dataset": text,
                 "dataset_title": {"de": text}, "period": text, "reason": text, "duplicate_of": text}  # fmt: skip
        from quality.receipt.json import arrival

        return html.arrival(arrival(known | {"state": "unassigned"}))

    assert seen(page(nasty)).tags == seen(page("x" if nasty else "")).tags


@given(st.text())
def test_characters_that_steer_a_screen_are_shown_as_signs(text: str) -> None:
    import unicodedata

    assert not {unicodedata.category(character) for character in visible(text)} & {"Cc", "Cf", "Cs"}


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(tmp_path: Path) -> None:
    page = html.receipt(receipt_document(verdict_of(), sent_of(tmp_path)))
    tags = seen(page)
    assert not {tag for tag, _ in tags.tags} & {"script", "link", "img", "iframe", "a", "object", "form"}
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_german_comes_first_and_english_follows(tmp_path: Path) -> None:
    text = seen(html.receipt(receipt_document(verdict_of(), sent_of(tmp_path)))).text
    assert 0 < text.index("Teilweise angenommen") < text.index("English version") < text.index("Partly accepted")


def test_a_clerk_reads_what_happened_what_to_do_and_where(tmp_path: Path) -> None:
    page = html.receipt(receipt_document(verdict_of(), sent_of(tmp_path)))
    text = " ".join(seen(page).text.split())
    assert "1 von 5 Zeilen mussten wir zurückhalten. Was jetzt zu tun ist: Bitte korrigieren Sie" in text
    assert "11 Stand k. A. eine Zahl wie 1,5 0,5?" in text
    assert (
        "5 geliefert = 2 übernommen + 1 mit Hinweis übernommen + 1 zurückgehalten + 1 nach Vereinbarung ausgelassen"
        in text
    )
    assert "reading_kwh 0,1 0,3 +0,2" in text
    assert "people – 4 –" in text


@pytest.mark.parametrize("state", ["accepted", "accepted_with_warnings", "partly_accepted", "rejected"])
def test_the_state_is_told_in_words_not_by_colour_alone(tmp_path: Path, state: str) -> None:
    rows = RowCounts(5, 5) if state.startswith("accepted") else RowCounts(5, quarantined=5)
    verdict = verdict_of(FINDINGS, state=state, rows=rows)
    words = {"accepted": "Angenommen", "accepted_with_warnings": "Angenommen mit Hinweisen",
             "partly_accepted": "Teilweise angenommen", "rejected": "Abgelehnt"}  # fmt: skip
    assert words[state] in seen(html.receipt(receipt_document(verdict, sent_of(tmp_path)))).text


def test_invented_figures_are_called_invented(tmp_path: Path) -> None:
    for synthetic in (True, False):
        document = receipt_document(verdict_of(), sent_of(tmp_path, synthetic=synthetic))
        assert ("Erfundene Zahlen" in html.receipt(document)) is synthetic


def test_a_message_format_counts_segments_not_lines(tmp_path: Path) -> None:
    document = receipt_document(verdict_of(), sent_of(tmp_path))
    assert "Segment" in html.receipt(document, line_word="label.segment")
