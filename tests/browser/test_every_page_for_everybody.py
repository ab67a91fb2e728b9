"""Every page in both languages, narrow and wide, light and dark: axe-core finds nothing, and nothing runs off to the side.

Pages are taken from `portal.visit.DOORS`; a new one needs an example in `tests.browser.examples`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from portal import texts
from portal.texts import LANGUAGES, Language
from storage.people import Role
from storage.settings import project_root
from tests.browser.conftest import PASSWORD, Stage, t
from tests.browser.examples import EXAMPLES, WASTE, WITH_PROVIDER

AXE = (project_root() / "portal" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
#: `.ci/run` looks at every page in German only, `make test-browser` in both languages.
LOOKED_AT: tuple[Language, ...] = ("de",) if os.environ.get("VERBUND_TEST_SHORT") else LANGUAGES
LOOK = """async () => {
  document.getAnimations().forEach(one => one.finish());
  const found = await axe.run(document, {resultTypes: ["violations"], preload: false});
  return found.violations.map(one => `${one.id}: ${one.help}: ` + one.nodes.slice(0, 3).map(
    node => `${node.html.slice(0, 160)} [${node.any.concat(node.all, node.none).map(check => check.message).join("; ").slice(0, 200)}]`
  ).join(" | "));
}"""
#: How far the page is wider than its window, and what reaches out of it without a scrolling part of its own around it.
TOO_WIDE = """() => {
  const root = document.scrollingElement, over = root.scrollWidth - root.clientWidth;
  if (over <= 0) return [];
  const inside = one => { for (let at = one.parentElement; at; at = at.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return true; return false; };
  return [...document.body.querySelectorAll("*")].filter(one => one.getBoundingClientRect().right > root.clientWidth + 1 && !inside(one))
    .slice(-3).map(one => `${over} px too wide: ${one.outerHTML.slice(0, 160)}`);
}"""


@pytest.fixture(scope="module")
def windows(stage: Stage, chromium: Browser) -> Iterator[Callable[[Role | None, str, Language], Page]]:
    """A window of somebody in a language, kept for the next page."""
    kept: dict[Any, Page] = {}

    def of(role: Role | None, supplier: str, language: Language) -> Page:
        if (who := (role, supplier, language)) not in kept:
            context = chromium.new_context()
            context.set_default_timeout(60_000)
            context.add_cookies([{"name": "verbund_language", "value": language, "url": stage.address}])
            if role:
                context.add_cookies([stage.cookie(role, supplier)])  # type: ignore[list-item]
            kept[who] = context.new_page()
        return kept[who]

    yield of
    for page in kept.values():
        page.context.close()


def found_on(page: Page) -> list[str]:
    """What is wrong with the page a window shows, in all its looks."""
    page.evaluate(AXE)
    wrong: dict[str, list[str]] = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in (1280, 320):
            page.set_viewport_size({"width": width, "height": 800})
            for what in [*page.evaluate(LOOK), *page.evaluate(TOO_WIDE)]:
                wrong.setdefault(what, []).append(f"{theme} {width}")
    return [f"{', '.join(looks)}: {what}" for what, looks in wrong.items()]


@pytest.mark.parametrize("language", LOOKED_AT)
@pytest.mark.parametrize("path", sorted(EXAMPLES))
def test_a_page_is_for_everybody(
    stage: Stage, windows: Callable[[Role | None, str, Language], Page], path: str, language: Language
) -> None:
    wrong = []
    for address, role, supplier in EXAMPLES[path]:
        page = windows(role, supplier, language)
        asked = address.replace("{invitation}", stage.invitation(f"invited.{language}", "clerk", WASTE))
        answer = page.goto(stage.address + asked)
        assert answer is not None and "text/html" in answer.headers["content-type"]
        assert path == "/" or page.url == stage.address + asked, f"{role} is sent to {page.url}"
        assert page.locator("html").get_attribute("lang") == language
        wrong += [f"{asked} {what}" for what in found_on(page)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("language", LANGUAGES)
def test_so_are_those_beside_a_provider_of_identities(
    address_with_provider: str, windows: Callable[[Role | None, str, Language], Page], language: Language
) -> None:
    wrong = []
    page = windows(None, "", language)
    for asked, code in WITH_PROVIDER.values():
        answer = page.goto(address_with_provider + asked)
        assert answer is not None and answer.status == code, asked
        assert page.locator("html").get_attribute("lang") == language
        wrong += [f"{asked} {what}" for what in found_on(page)]
    assert page.get_by_role("link", name=texts.text("signed_out.do", language)).is_visible()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_form_is_answered_with_is_for_everybody_too(
    stage: Stage,
    windows: Callable[[Role | None, str, Language], Page],
    sent: Callable[[str], bytes],
    language: Language,
) -> None:
    wrong = []
    page = windows(None, "", language)
    page.goto(f"{stage.address}/anmelden")
    page.fill("#email", f"nobody.{language}@example.org")
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    wrong += found_on(page)
    page.goto(stage.address + stage.invitation(f"different.{language}", "clerk", WASTE))
    page.fill("#password", PASSWORD)
    page.fill("#again", "ein anderer satz")
    page.press("#again", "Enter")
    wrong += found_on(page)
    page = windows("clerk", WASTE, language)
    page.goto(f"{stage.address}/abgeben/{WASTE}")
    page.set_input_files("#file", {"name": "liste.csv", "mimeType": "text/csv", "buffer": b"a;b\n1;2\n"})
    page.locator("main form button").first.click()
    page.get_by_role("alert").first.wait_for()
    wrong += found_on(page)
    page.goto(f"{stage.address}/abgeben/{WASTE}")
    balance = sent("Abfallbilanz_Wuppertal_2025.csv")
    page.set_input_files("#file", {"name": "Abfallbilanz_2025.csv", "mimeType": "text/csv", "buffer": balance})
    page.get_by_role("button", name=texts.text("check.do", language)).click()
    page.wait_for_url("**/pruefen/**")
    wrong += found_on(page)
    page.goto(f"{stage.address}/abgeben/{WASTE}")
    page.set_input_files("#file", {"name": "export.csv", "mimeType": "text/csv", "buffer": balance})
    page.locator("main form button").first.click()
    page.get_by_role("heading", name=texts.text("recognised.title", language)).wait_for()
    wrong += found_on(page)
    page.goto(f"{stage.address}/lieferung/nothing")
    wrong += found_on(page)
    page = windows("coordinator", "", language)
    page.goto(f"{stage.address}/menschen")
    page.fill("#name", "Erika Muster")
    page.fill("#email", f"erika.{language}@example.org")
    page.press("#email", "Enter")
    page.locator("main .kern-alert").first.wait_for()
    wrong += found_on(page)
    assert not wrong, "\n".join(wrong)


def test_the_looks_are_told_apart(stage: Stage, windows: Callable[[Role | None, str, Language], Page]) -> None:
    page = windows(None, "", "de")
    page.goto(f"{stage.address}/anmelden")
    shown = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        shown.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert shown[0] != shown[1], "the dark look is not there"
    assert t("sign_in.title") in page.title()
    page.evaluate(AXE)
    page.evaluate("document.querySelector('label').remove()")
    assert any("label" in what for what in page.evaluate(LOOK)), "axe-core does not look"
