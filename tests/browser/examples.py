"""An address of every page, to be opened and looked at. A new page needs one here.

No browser is needed to read this: `make test` sees to it that no page is without an example.
"""

from __future__ import annotations

from portal import app as _pages  # noqa: F401  (fills DOORS)
from portal.visit import DOORS
from storage.people import Role

WASTE, SOLINGEN = "wuppertal-abfall", "solingen-betriebe"
#: What is asked for, by whom: a role, for clerks and leads their supplier; None is not signed in.
Example = tuple[str, Role | None, str]
#: Each page with what it shows of: states that look different, and that it is empty.
EXAMPLES: dict[str, list[Example]] = {
    "/": [("/", "clerk", WASTE)],
    "/anmelden": [("/anmelden", None, "")],
    "/einladung/{token}": [("{invitation}", None, ""), ("/einladung/none", None, "")],
    "/pflichten/{supplier}": [(f"/pflichten/{WASTE}", "lead", WASTE), (f"/pflichten/{SOLINGEN}", "coordinator", "")],
    "/pflichten/{supplier}/monat": [(f"/pflichten/{WASTE}/monat", "clerk", WASTE)],
    "/frist-verlaengern/{supplier}": [
        (f"/frist-verlaengern/{SOLINGEN}?dataset=waste_balance&period=2026", "lead", SOLINGEN)
    ],
    "/fristen": [("/fristen", "coordinator", "")],
    "/einstellungen": [("/einstellungen", "clerk", WASTE)],
    "/fragen": [("/fragen", "coordinator", "")],
    "/fragen/{supplier}": [(f"/fragen/{WASTE}", "clerk", WASTE), (f"/fragen/{SOLINGEN}", "clerk", SOLINGEN)],
    "/fragen/{supplier}/neu": [(f"/fragen/{WASTE}/neu?lieferung={WASTE}--waste_balance--2025--01", "lead", WASTE)],
    "/fragen/{supplier}/{thread}": [(f"/fragen/{WASTE}/1", "lead", WASTE), (f"/fragen/{WASTE}/1", "coordinator", "")],
    "/zugaenge": [("/zugaenge", "coordinator", "")],
    "/zugaenge/{supplier}": [(f"/zugaenge/{WASTE}", "lead", WASTE)],
    "/abgeben/{supplier}": [(f"/abgeben/{WASTE}?dataset=waste_balance&period=2024", "clerk", WASTE)],
    "/eingeben/{supplier}": [(f"/eingeben/{WASTE}", "clerk", WASTE)],
    "/eingeben/{supplier}/{dataset}": [(f"/eingeben/{WASTE}/green_waste_intake?period=2025-08", "clerk", WASTE)],
    "/lieferung/{delivery}": [
        (f"/lieferung/{delivery}", role, of)
        for role, of, delivery in (
            ("clerk", WASTE, f"{WASTE}--waste_balance--2023--01"),  # accepted
            ("clerk", WASTE, f"{WASTE}--waste_balance--2023--02"),  # the same file again
            ("lead", WASTE, f"{WASTE}--green_waste_intake--2025-06--01"),  # partly accepted: a word nobody knows
            ("lead", WASTE, f"{WASTE}--waste_balance--2025--01"),  # rejected: columns renamed
            ("lead", SOLINGEN, f"{SOLINGEN}--waste_balance--2025--01"),  # with warnings
            ("engineer", "", "remscheid-betriebe--waste_balance--2025--01"),  # withdrawn
            ("coordinator", "", "statistik-amt--municipality_register--2024--01"),  # nothing to report
        )
    ],
    "/nichts-zu-melden/{supplier}": [
        (f"/nichts-zu-melden/{SOLINGEN}?dataset=waste_balance&period=2015", "lead", SOLINGEN)
    ],
    "/lieferung/{delivery}/woerter": [(f"/lieferung/{WASTE}--green_waste_intake--2025-06--01/woerter", "lead", WASTE)],
    "/woerter/{supplier}": [(f"/woerter/{WASTE}", "lead", WASTE)],
    "/zahlen/{supplier}": [(f"/zahlen/{WASTE}?jahr=2024", "clerk", WASTE)],
    "/zahl/{indicator}/{area}/{period}": [
        ("/zahl/K-02/05124000/2024", "clerk", WASTE),
        ("/zahl/K-02/05120000/2025", "coordinator", ""),  # withdrawn: a gap
    ],
    "/zahl/{indicator}/{area}/{period}/zeilen/{delivery}": [
        (f"/zahl/K-02/05124000/2024/zeilen/{WASTE}--waste_balance--2024--03", "clerk", WASTE)
    ],
    "/lieferung/{delivery}/zahlen": [(f"/lieferung/{WASTE}--waste_balance--2024--03/zahlen", "clerk", WASTE)],
    "/lieferung/{delivery}/zeile/{line}": [(f"/lieferung/{WASTE}--waste_balance--2024--03/zeile/2", "clerk", WASTE)],
    "/offen": [("/offen", None, "")],
    "/offen/kennzahl/{indicator}": [("/offen/kennzahl/K-02", None, "")],
    "/offen/gebiet/{area}": [("/offen/gebiet/05124000", None, ""), ("/offen/gebiet/bergisch", None, "")],
    "/region": [("/region?jahr=2024", "coordinator", ""), ("/region", "observer", "")],
    "/region/offen": [("/region/offen", "coordinator", "")],
    "/zeugnisse": [("/zeugnisse", "clerk", WASTE)],
    "/staende": [("/staende", "clerk", WASTE)],
    "/anschliessen": [("/anschliessen", "coordinator", "")],
    "/anschliessen/neu": [("/anschliessen/neu", "coordinator", "")],
    "/anschliessen/{proposal}": [("/anschliessen/1", "engineer", "")],
    "/menschen": [("/menschen", "coordinator", "")],
    "/nachrichten": [("/nachrichten", "coordinator", "")],
    "/verlauf": [("/verlauf", "coordinator", "")],
}  # fmt: skip
#: Pages of an installation whose people a provider of identities knows, with the status each is shown with: that it is away,
#: that it does not vouch for somebody, that the way out goes on there.
WITH_PROVIDER: dict[str, tuple[str, int]] = {
    "/anmelden": ("/anmelden", 200),
    "/anmelden/extern": ("/anmelden/extern", 503),
    "/anmelden/zurueck": ("/anmelden/zurueck?error=access_denied", 403),
    "/abgemeldet": ("/abgemeldet", 200),
}
#: What answers with a file, a picture or data for programs.
NO_PAGES = {
    "/lieferung/{delivery}/quittung.{ending}", "/lieferung/{delivery}/weiter", "/kalender/{token}.ics", "/vorlage/{supplier}/{dataset}",
    "/bild/reihe/{indicator}/{area}/{period}", "/bild/vergleich/{indicator}/{area}/{period}",
    "/offen/bild/reihe/{indicator}/{area}/{period}", "/offen/bild/vergleich/{indicator}/{area}/{period}",
    "/offen/daten/{kind}/{table}", "/anschliessen/{proposal}/patch",
}  # fmt: skip


def pages() -> set[str]:
    """Paths of all pages; what programs ask for is none."""
    return {path for method, path in DOORS if method == "GET" and not path.startswith("/api/")} - NO_PAGES
