"""What the pages say: in both languages, in sentences people read, and with a remedy beside every problem."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from portal import texts
from portal.rights import RIGHTS
from storage.settings import project_root

PORTAL = project_root() / "portal"


def in_templates() -> set[str]:
    """Keys that templates ask for by name."""
    found: set[str] = set()
    for template in (PORTAL / "templates").rglob("*.html"):
        found |= set(re.findall(r"""\bt\(["']([a-z_.]+)["'][,)]""", template.read_text(encoding="utf-8")))
    return found


def problems() -> set[str]:
    """Keys that pages give a template as the problem to be told of."""
    found: set[str] = set()
    for page in (PORTAL / "pages").rglob("*.py"):
        found |= set(re.findall(r'problem(?:"\s*:|\s*=)\s*"([a-z_.]+)"', page.read_text(encoding="utf-8")))
    for route in [*(PORTAL / "api").rglob("*.py"), PORTAL / "app.py"]:
        found |= set(re.findall(r'"(api\.[a-z_.]*[a-z])"', route.read_text(encoding="utf-8"))) - set(RIGHTS)
    return found


def filled(key: str, language: texts.Language) -> str:
    raw = texts.raw(key, language)
    return texts.text(key, language, **{blank: "x" for _, blank, _, _ in Formatter().parse(raw) if blank})


def test_every_text_is_there_in_both_languages_with_the_same_blanks() -> None:
    assert texts.keys("de") == texts.keys("en")
    for key in texts.keys("de"):
        blanks = [{b for _, b, _, _ in Formatter().parse(texts.raw(key, language)) if b} for language in ("de", "en")]
        assert blanks[0] == blanks[1], key


def test_every_text_a_page_asks_for_is_there() -> None:
    assert in_templates() | problems() <= texts.keys("de")


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_no_sentence_is_longer_than_people_read(language: texts.Language) -> None:
    for key in texts.keys(language):
        for sentence in re.split(r"[.!?](?:\s|$)", filled(key, language)):
            assert len(sentence.split()) <= 25, (key, sentence)


def test_every_problem_has_a_remedy() -> None:
    assert problems(), "the pages' problems are not found any more"
    assert {f"{key}.remedy" for key in problems()} <= texts.keys("de")


def test_no_text_is_left_over() -> None:
    """A key is used when some page or template names it, or its group and a word put in at run time."""
    said = "\n".join(
        file.read_text(encoding="utf-8")
        for folder in (PORTAL / "templates", PORTAL / "pages", PORTAL / "api", PORTAL)
        for file in (folder.rglob("*") if folder.name != "portal" else folder.glob("*.py"))
        if file.suffix in (".html", ".py")
    )
    stems = set(re.findall(r"""["']([a-z_.]+[._])["'] ?~""", said)) | set(re.findall(r'f"([a-z_.]+[._])\{', said))
    unused = {
        key
        for key in texts.keys("de")
        if not key.endswith(".remedy") and key not in said and not any(key.startswith(stem) for stem in stems)
    }
    assert unused == set()


def test_the_same_text_is_said_in_one_catalogue_only() -> None:
    files: dict[str, Path] = {}
    for file in (PORTAL / "texts" / "de" / "LC_MESSAGES").glob("*.po"):
        for key in re.findall(r'^msgid "([^"]+)"', file.read_text(encoding="utf-8"), re.MULTILINE):
            assert files.setdefault(key, file) == file, key
