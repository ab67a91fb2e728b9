"""Everything a clerk does, with the keys alone: no click, no script that helps, and the place where one is can always be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator

from storage.people import Role
from tests.browser.conftest import PASSWORD, Somebody, Stage, t
from tests.browser.test_ways_of_a_file import KOMPOST, SOLINGEN, WUPPERTAL, by_openpyxl, faulty_book, outcome

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
        # whoever begins to listen only before the key is pressed loses 14 of 500 dialogues: the browser hears of it too late
        self.page.on("filechooser", lambda _: None)

    @classmethod
    def signed_in(cls, somebody: Somebody, stage: Stage, role: Role, supplier: str, path: str) -> Keys:
        """A keyboard in front of a page of somebody who is in already: how they come in is tried once, below."""
        somebody.page.context.add_cookies([stage.cookie(role, supplier)])  # type: ignore[list-item]
        somebody.open(path)
        return cls(somebody)

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

    def pick(self, name: str, value: str) -> None:
        """Go through the words of a list until the right one is there."""
        self.to(name)
        self.press("Home")
        for _ in range(60):
            if self.page.evaluate("document.activeElement.value") == value:
                return
            self.press("ArrowDown")
        raise AssertionError(f"{name!r} does not offer {value!r}")

    def choose(self, file: Path) -> None:
        """The system's own dialogue is left to the system."""
        self.to(t("hand_in.file"))
        with self.page.expect_file_chooser() as asked:
            self.press("Space")
        asked.value.set_files(file)


def called(element: Locator) -> str:
    """What a page calls something: its label, or its words."""
    return " ".join((element.get_attribute("aria-label") or element.inner_text()).split())


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


def test_a_table_is_entered_with_the_keys(stage: Stage, somebody: Callable[..., Somebody]) -> None:
    clerk = somebody()
    keys, page = Keys.signed_in(clerk, stage, "clerk", KOMPOST, f"/eingeben/{KOMPOST}"), clerk.page
    keys.type_into(t("duties.period"), "2025-06")
    keys.follow(t("entry.begin"))
    line = {
        "plant_id": "PLANT-1", "month_date": "01.06.2025", "flow_code": "input", "source_area_code": "05124000",
        "product_code": "garden mix", "treatment_code": "R3", "quantity_t": "viel",
    }  # fmt: skip
    for field, value in line.items():
        cell = page.locator(f"[name='r0.{field}']")
        if cell.evaluate("cell => cell.tagName") == "SELECT":
            keys.pick(called(cell), value)
        elif cell.get_attribute("type") != "hidden":
            keys.type_into(called(cell), value)
    keys.press("Tab")
    page.locator("#notes-0").get_by_text("viel").wait_for()
    # what is said moves nobody away: one step back is the cell it is about, and what is typed takes the place of what is there
    keys.press("Shift+Tab")
    assert page.evaluate("document.activeElement.name") == "r0.quantity_t"
    page.keyboard.type("120,5")
    keys.press("Tab")
    page.locator("#notes-0:not(:has-text('viel'))").wait_for(state="attached")
    keys.follow(t("entry.save"))
    assert page.get_by_text(t("entry.checked")).is_visible()
    keys.follow(t("entry.hand_in"))
    clerk.verdict()
    assert outcome(clerk) in ("success", "warning")


def test_nothing_to_report_is_said_with_the_keys(stage: Stage, somebody: Callable[..., Somebody]) -> None:
    lead = somebody()
    keys = Keys.signed_in(lead, stage, "lead", WUPPERTAL, f"/pflichten/{WUPPERTAL}")
    keys.follow(f"{t('declare.title')} Grünabfall-Annahme 2025-05")
    keys.type_into(t("declare.reason"), "Die Annahmestelle war geschlossen.")
    keys.follow(t("declare.do"))
    lead.page.locator("#verdict .kern-alert--success").wait_for()


def test_keys_lead_from_a_figure_to_the_line_and_back(stage: Stage, somebody: Callable[..., Somebody]) -> None:
    clerk = somebody()
    keys = Keys.signed_in(clerk, stage, "clerk", WUPPERTAL, "/")
    page, main = clerk.page, clerk.page.get_by_role("main")
    keys.follow(t("figures.title"))
    keys.follow("2024")
    keys.follow(called(main.get_by_role("row").filter(has_text="Restabfall").get_by_role("link").first))
    figure = page.url
    keys.follow(called(main.get_by_role("link", name=f"{WUPPERTAL}--waste_balance--2024--03").last))
    keys.follow(called(main.locator("tbody").get_by_role("link").first))
    assert "/zeile/" in page.url
    keys.follow(t("figures.became"))
    keys.follow(called(main.locator(f"a[href='{figure.removeprefix(stage.address)}']").first))
    assert page.url == figure


def test_a_proposal_is_corrected_with_the_keys(
    stage: Stage, somebody: Callable[..., Somebody], sent: Callable[[str], bytes], files: Callable[[str, bytes], Path]
) -> None:
    clerk = somebody()
    keys = Keys.signed_in(clerk, stage, "clerk", WUPPERTAL, f"/abgeben/{WUPPERTAL}")
    keys.choose(files("export.csv", sent("Abfallbilanz_Wuppertal_2023.csv")))
    keys.follow(t("hand_in.do"))
    keys.pick(t("duties.what"), "green_waste_intake")
    # what is proposed is marked when it is reached, and goes when something is typed
    keys.type_into(t("duties.period"), "2025-10")
    keys.follow(t("recognised.do"))
    assert f"{WUPPERTAL}--green_waste_intake--2025-10" in clerk.page.url
    clerk.verdict()
    assert outcome(clerk) == "danger"
    keys.follow(t("verdict.again"))
    keys.to(t("hand_in.file"))
