"""Everything a clerk does, with the keys alone: no click, no script that helps, and the place where one is can always be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.browser.conftest import PASSWORD, Somebody, Stage, t
from tests.browser.test_ways_of_a_file import SOLINGEN, by_openpyxl, faulty_book, outcome

#: What the focused element is called, and whether it can be told from the others.
HERE = """() => {
  const one = document.activeElement;
  if (one === document.body) return ["", true];
  const label = one.labels && one.labels.length ? one.labels[0].innerText : one.getAttribute("aria-label") || one.innerText;
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== "none";
  const inside = [...one.querySelectorAll("*"), ...(one.parentElement ? [one.parentElement] : [])].some(
    part => getComputedStyle(part).outlineStyle !== "none" || getComputedStyle(part).boxShadow !== "none");
  return [label.replace(/\\s+/g, " ").trim(), (ring || inside) && box.width > 0 && box.height > 0];
}"""


class Keys:
    """A keyboard in front of a page."""

    def __init__(self, somebody: Somebody) -> None:
        self.page = somebody.page
        self.press = somebody.page.keyboard.press

    def to(self, name: str) -> None:
        """Press Tab until the element of this name has the focus."""
        seen = []
        for _ in range(150):
            self.press("Tab")
            here, visible = self.page.evaluate(HERE)
            assert visible, f"{here!r} has the focus, and nothing shows it"
            if here == name:
                return
            seen.append(here)
        raise AssertionError(f"{name!r} cannot be reached by Tab, only {sorted(set(seen))}")

    def type_into(self, name: str, text: str) -> None:
        self.to(name)
        self.page.keyboard.type(text)

    def follow(self, name: str) -> None:
        """Press Enter on a link or button and wait for the next page."""
        self.to(name)
        with self.page.expect_navigation():
            self.press("Enter")

    def choose(self, file: Path) -> None:
        """The system's own dialogue is left to the system."""
        self.to(t("hand_in.file"))
        with self.page.expect_file_chooser() as asked:
            self.press("Space")
        asked.value.set_files(file)


def test_a_clerk_needs_no_mouse(
    stage: Stage, somebody: Callable[..., Somebody], sent: Callable[[str], bytes], files: Callable[[str, bytes], Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    clerk = somebody()
    keys = Keys(clerk)
    clerk.open(stage.invitation("klara.taste", "clerk", SOLINGEN))
    keys.type_into(t("person.password"), PASSWORD)
    keys.type_into(t("person.password_again"), PASSWORD)
    keys.follow(t("invited.do"))
    keys.follow(t("session.end"))
    keys.type_into(t("person.email"), "klara.taste@example.org")
    keys.type_into(t("person.password"), PASSWORD)
    keys.follow(t("sign_in.do"))
    # past the menu, as whoever hears a page does
    keys.press("Tab")
    assert clerk.page.evaluate(HERE)[0] == t("page.skip")
    keys.press("Enter")
    keys.press("Tab")
    assert clerk.page.evaluate("document.activeElement.closest('main') !== null")
    content, right = faulty_book(sent("Abfallbilanz_Solingen_2023.xlsx"), "2019")
    keys.follow(t("hand_in.title"))
    keys.choose(files("Abfallbilanz_Solingen_2019.xlsx", content))
    keys.follow(t("hand_in.do"))
    assert "teilweise" in clerk.verdict()
    keys.to(t("verdict.file_xlsx"))
    with clerk.page.expect_download() as begun:
        keys.press("Enter")
    marked = tmp_path / begun.value.suggested_filename
    begun.value.save_as(marked)
    keys.follow(t("verdict.again"))
    keys.choose(by_openpyxl(marked, right))
    keys.follow(t("hand_in.do"))
    clerk.verdict()
    assert outcome(clerk) == "success"
    keys.follow(t("session.end"))
    assert clerk.page.url.endswith("/anmelden")
