"""The files that are delivered: quarter hours of a year by the million, and small weighing lists.

All figures are made up by a hash of their place, so that every run sees the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from benchmarks.region import area, gates

#: Quarter hours of 2025 in local time, the hour that repeats in October included.
QUARTER_HOURS = 35_040
YEAR = 2025


def write_quarter_hours(to: Path, rows: int, *, faults: bool = True) -> int:
    """Write a year of quarter hours of as many metering points as it takes for `rows` lines, and return the lines.

    `;`, decimal comma, German dates, about 66 bytes a line. With `faults` one value in 100,000 is negative or no
    number, and every tenth metering point lacks one quarter hour.
    """
    points = max(1, round(rows / QUARTER_HOURS))
    energy = "case when h % 200000 = 7 then '-1,5' when h % 200000 = 11 then 'defekt' else energy end"
    lacking = f"where not (i // {QUARTER_HOURS} % 10 = 3 and i % {QUARTER_HOURS} = 96 * (i // {QUARTER_HOURS}) % 20000)"
    with duckdb.connect(config={"memory_limit": "600MB", "threads": 2}) as connection:
        connection.execute(
            f"""
            create table times as
            select i as quarter, strftime(timezone('Europe/Berlin', began + i * interval 15 minute), '%d.%m.%Y %H:%M') as text
            from range({QUARTER_HOURS}) r(i), (select timestamptz '{YEAR}-01-01 00:00:00+01:00' as began)
            """
        )
        # a probe of a hash join keeps its order, so nothing has to be sorted
        row = connection.execute(
            f"""
            copy (
                select
                    'DE00042103' || lpad(cast(i // {QUARTER_HOURS} as varchar), 23, '0') as "Messlokation",
                    '1-1:1.29.0' as "OBIS",
                    text as "Zeit",
                    {energy if faults else "energy"} as "Arbeit [kWh]",
                    case when h % 977 = 0 then '67' else '220' end as "Status"
                from (
                    select i, h,
                        cast(h % 400 as varchar) || ',' || lpad(cast(h // 1000 % 1000 as varchar), 3, '0') as energy
                    from (select i, hash(i) as h from range({points * QUARTER_HOURS}) r(i) {lacking if faults else ""})
                )
                join times on quarter = i % {QUARTER_HOURS}
            ) to '{to}' (format csv, delimiter ';', header true, quote '')
            """
        ).fetchone()
    assert row is not None
    return int(row[0])


def small_file(depot: int, year: int, month: int, *, salt: int = 0, rows: int = 300) -> bytes:
    """A weighing list of a month: four sites, 25 days, three fractions; three of its rows are wrong."""
    lines = ["Annahmestelle;AGS;Datum;Fraktion;Menge;Einheit;geschätzt"]
    for nth in range(rows):
        site, day, fraction = gates(depot)[nth % 4], nth // 12 + 1, ("woody", "soft", "mixed")[nth // 4 % 3]
        amount = (nth * 7919 + depot * 104729 + year * 31 + month * 17 + salt) % 90_000 / 10 + 10
        text = f"{amount:,.1f}".replace(",", " ").replace(".", ",").replace(" ", ".")
        if nth in (17, 150):
            text = "-5,0" if nth == 17 else "viel"
        lines.append(
            f"{'gate-unknown' if nth == 222 else site};{area(depot)};{day:02d}.{month:02d}.{year};{fraction};{text};kg;nein"
        )
    return ("\r\n".join(lines) + "\r\n").encode("cp1252")
