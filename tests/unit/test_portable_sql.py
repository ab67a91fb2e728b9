"""The models are one text for two engines: words only one of them takes are refused here, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
import sqlglot

PROJECT = Path(__file__).resolve().parents[2] / "transformations"
MODELS = sorted((PROJECT / "models").rglob("*.sql"))
MACROS = sorted((PROJECT / "macros").rglob("*.sql"))
TESTS = sorted((PROJECT / "tests").rglob("*.sql"))

#: What to look for in SQL without comments and literals, and what to write in its place.
FORBIDDEN = {
    r"\bqualify\b": "row_number() in a subquery, where rn = 1",
    r"\bexclude\b|\*\s*(except|replace)\b": "the columns spelled out",
    r"\bunion\s+(all\s+)?by\s+name\b": "the columns in the same order",
    r"\basof\b": "row_number() over a join",
    r"\bgroup\s+by\s+all\b|\border\s+by\s+all\b": "the columns spelled out",
    r'"': "lower snake case without quotes",
    r"\bregexp_\w+|\bregex\b": "split_part, left, length, or a macro",
    r"\bstrptime\b|\bstrftime\b|\bto_date\b|\bdate_format\b": "ISO text and cast(… as date)",
    r"\bat\s+time\s+zone\b|\btimestamptz\s*'": "the macro local_time",
    r"\bpivot\b|\bunpivot\b|\brecursive\b": "case expressions, joins",
    r"\barray_agg\b|\blist\s*\(|\bunnest\b|\bexplode\b|\[": "the macros list_text and days",
    r"\bstring_agg\b|\blistagg\b": "the macro list_text",
    r"\bdate_diff\b|\bdatediff\b|\bdateadd\b|\binterval\b": "the macros add_days and seconds_between",
    r"\b(sha256|sha2|hash)\s*\(": "md5",
    r"\bhugeint\b|\bvarchar\b|\btext\b": "bigint, string",
    r"\bconcat\s*\(": "|| with coalesce",
    r"\bdayofweek\b|\bextract\s*\(\s*dow\b": "a macro",
}


def bare(sql: str) -> str:
    """SQL in lower case without comments, literals and jinja; what a jinja call says stays, quotes apart."""
    sql = re.sub(r"\{#.*?#\}", " ", sql, flags=re.S)
    sql = re.sub(r"\{\{[-\s]*config\(.*?\}\}|\{%.*?%\}", " ", sql, flags=re.S)
    sql = re.sub(r"--[^\n]*", " ", sql)
    # arguments of macros are SQL in python quotes; refs and literals are not SQL
    sql = re.sub(r"\{\{.*?\}\}", lambda call: re.sub(r"[\"\[\]]|(?<!\w)'\w+'", " ", call.group()), sql, flags=re.S)
    return re.sub(r"'[^'\n]*'", "''", sql).lower()


def offences(sql: str) -> list[str]:
    told = bare(sql)
    return [f"`{hit.group()}`: write {better}" for word, better in FORBIDDEN.items() if (hit := re.search(word, told))]


@pytest.mark.parametrize("model", [*MODELS, *TESTS], ids=lambda path: path.stem)
def test_a_model_uses_no_word_that_only_one_engine_takes(model: Path) -> None:
    assert offences(model.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "sql",
    [
        "select * exclude (a) from t",
        "select a from t qualify row_number() over () = 1",
        "select a from t union all by name select b from s",
        'select "A" from t',
        "select regexp_replace(a, 'x', 'y') from t",
        "select strptime(a, '%d') from t",
        "select a, count(*) from t group by all",
        "select a from t asof join s on t.x >= s.x",
        "select {{ total(\"regexp_extract(a, 'x')\") }} from t",
    ],
)
def test_a_forbidden_word_is_found(sql: str) -> None:
    assert len(offences(sql)) == 1


def test_words_in_comments_and_literals_are_no_offence() -> None:
    assert offences("-- \"qualify\"\nselect 'exclude' as a {# regexp_x #} from {{ ref('asof') }}") == []


def test_every_macro_that_differs_is_spelled_for_both_engines() -> None:
    text = "\n".join(macro.read_text(encoding="utf-8") for macro in MACROS)
    spelled = {engine: set(re.findall(rf"macro {engine}__(\w+)\(", text)) for engine in ("default", "spark")}
    assert spelled["default"] == spelled["spark"] == set(re.findall(r"dispatch\('(\w+)'", text))


def test_models_read_sources_in_staging_only() -> None:
    assert {m.parent.name for m in MODELS if re.search(r"\bsource\(", m.read_text(encoding="utf-8"))} == {"staging"}


def test_a_model_is_named_after_its_layer() -> None:
    prefix = {"staging": "stg_", "intermediate": "int_"}
    assert [m.stem for m in MODELS if not m.stem.startswith(prefix.get(m.parent.name, ""))] == []
    assert [m.stem for m in MODELS if m.parent.name == "marts" and m.stem[:4] in prefix.values()] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("engine", ["default", "spark"])
def test_a_model_parses_in_the_spelling_of_either_engine(model: Path, engine: str) -> None:
    sql = rendered(model, engine)
    assert len(sqlglot.parse(sql, read="spark" if engine == "spark" else "duckdb")) == 1


def rendered(model: Path, engine: str) -> str:
    """The model as dbt would render it on an engine, with bare table names."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    known: dict[str, Any] = {
        "ref": lambda name: name,
        "source": lambda schema, name: f"{schema}.{name}",
        "config": lambda **_: "",
    }

    class Adapter:
        @staticmethod
        def dispatch(name: str, package: str) -> Callable[..., str]:
            assert package == "verbund"
            macro: Callable[..., str] = known[f"{engine}__{name}"]
            return macro

    known["adapter"] = Adapter
    for file in MACROS:
        # one namespace that grows: macros of one file call those of another
        module = environment.from_string(file.read_text(encoding="utf-8"), globals=known).make_module()
        known |= {name: macro for name, macro in vars(module).items() if not name.startswith("_")}
    return environment.from_string(model.read_text(encoding="utf-8"), globals=known).render()
