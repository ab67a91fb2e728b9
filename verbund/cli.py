"""The command line. Each command opens what it needs, calls `quality` or `storage`, and says what came of it.

Heavy libraries are imported inside the commands: `verbund --help` and small commands answer at once.
"""

from __future__ import annotations

import functools
import gc
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from verbund import commands
from verbund.commands import Home, Json, Region, cell, settings_of
from verbund.keeping import keeping_app
from verbund.output import DONE, REJECTED, UNAVAILABLE, WRONG_USE, err, fail, out, progress, say_json, state_text, table
from verbund.server import server_app
from verbund.user import user_app

if TYPE_CHECKING:
    from quality.desk import Desk
    from quality.sources import Misconfigured

app = typer.Typer(
    help="Verbund: the shared data foundation of municipalities that run a regional circular economy together.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
region_app = typer.Typer(help="Region packs: make, check, export and import.", no_args_is_help=True)
contract_app = typer.Typer(help="Contracts: what is promised for each dataset.", no_args_is_help=True)
app.add_typer(region_app, name="region")
app.add_typer(contract_app, name="contract")
app.add_typer(server_app, name="server")
app.add_typer(user_app, name="user")
app.add_typer(keeping_app)

command = functools.partial(commands.command, on=app)


def desk_of(home: Path | None, region: str | None) -> Desk:
    from quality.desk import Desk

    return Desk(settings_of(home, region))


# --- delivering ---


@command()
def deliver(
    file: Annotated[
        Path | None, typer.Argument(help="The file; left out with --nothing-to-report.", show_default=False)
    ] = None,
    supplier: Annotated[str, typer.Option(help="Who delivers.")] = ...,  # type: ignore[assignment]
    dataset: Annotated[str, typer.Option(help="What is delivered.")] = ...,  # type: ignore[assignment]
    period: Annotated[str, typer.Option(help="2024, 2024-Q3, 2024-07 or 2024-07-31.")] = ...,  # type: ignore[assignment]
    dialect: Annotated[
        str | None, typer.Option(help="Id of one of the agreed dialects.", show_default="told from name and content")
    ] = None,
    nothing_to_report: Annotated[
        bool, typer.Option("--nothing-to-report", help="Declare that there is nothing for this period.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why there is nothing to report.")] = "",
    who: Annotated[
        str, typer.Option(help="Who signs; default is the user running the command.", show_default=False)
    ] = "",
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Deliver a file: it is kept, judged and answered.

    Uses the running judge where there is one, and judges itself where there is none.

    Example: `verbund deliver Messwerte_2024.csv --supplier stadtwerke-x --dataset meter_readings --period 2024`
    """
    from quality import judging

    desk = desk_of(home, region)
    who = who or _user()
    if nothing_to_report:
        delivery = desk.declare_nothing(supplier, dataset, period, who=who, reason=reason or "nothing to report")
    elif file is None:
        fail("expected a file, or --nothing-to-report, found neither", WRONG_USE, as_json=as_json)
    else:
        with progress(f"keeping {file.name}", quiet=as_json):
            delivery = desk.receive(file, supplier, dataset, period, file_name=file.name, who=who, dialect=dialect)
    if not delivery.duplicate_of:
        with progress("judging", quiet=as_json):
            judging.until_judged(desk, delivery.delivery_id)
    _show_receipt(desk.receipt(delivery.delivery_id), as_json)


@command()
def check(
    file: Annotated[Path, typer.Argument(help="The file to look at.")],
    supplier: Annotated[str, typer.Option(help="Who would deliver it.")],
    dataset: Annotated[
        str | None, typer.Option(help="What it would be delivered as.", show_default="told from name and content")
    ] = None,
    period: Annotated[
        str | None, typer.Option(help="For when it would be.", show_default="told from name and content")
    ] = None,
    dialect: Annotated[
        str | None, typer.Option(help="Id of one of the agreed dialects.", show_default="told from name and content")
    ] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """The verdict a file would get; nothing is stored.

    Example: `verbund check Messwerte_2024.csv --supplier stadtwerke-x --dataset meter_readings`
    """
    from quality.assign import Assigned, assign_named
    from quality.recognition import recognise

    desk = desk_of(home, region)
    if (dataset is None or period is None) and supplier in desk.pack.suppliers:
        by_name = assign_named(desk.pack, supplier, dataset or "", period or "", file.name)
        if isinstance(by_name, Assigned):
            dataset, period = by_name.dataset, str(by_name.period)
        else:
            told = recognise(
                desk.pack, supplier, file, file.name, desk.home.work, dataset=dataset or "", period=period or ""
            )
            dataset, period = told.dataset or None, told.period or None
            for reason in () if as_json else told.reasons:
                out.print(reason["en"], markup=False)
    if dataset is None and supplier in desk.pack.suppliers:
        fail("expected --dataset, or a file that tells it, found neither", WRONG_USE, as_json=as_json)
    if period is None and supplier in desk.pack.suppliers:
        fail(
            f"expected a period in the file's name or --period, found neither in {file.name!r}",
            WRONG_USE,
            as_json=as_json,
        )
    with progress(f"checking {file.name}", quiet=as_json):
        document = desk.check(file, supplier, dataset or "", period or "", dialect=dialect)
    _show_receipt(document, as_json)


@command()
def withdraw(
    delivery: Annotated[str, typer.Argument(help="Id of the delivery.")],
    reason: Annotated[str, typer.Option(help="Why it is taken back.")],
    who: Annotated[str, typer.Option(help="Who takes it back.", show_default=False)] = "",
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Take a delivery back; if it held its slot, nobody holds it now. Bytes and history stay.

    Example: `verbund withdraw stadtwerke-x--meter_readings--2024--01 --reason "wrong year"`
    """
    desk = desk_of(home, region)
    desk.ledger.delivery(delivery)  # says which there are, before anything is locked
    changed = desk.withdraw(delivery, who=who or _user(), why=reason)
    document = desk.receipt(delivery)
    if as_json:
        say_json(document)
    else:
        out.print(f"{delivery}: {state_text(document['state'])}" + ("" if changed else " (was withdrawn before)"))


@command()
def deliveries(
    supplier: Annotated[str | None, typer.Option(help="Only this supplier's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only of this dataset.")] = None,
    period: Annotated[str | None, typer.Option(help="Only for this period.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """All deliveries with their state and their rows.

    Example: `verbund deliveries --state rejected`
    """
    from quality.desk import summary_of

    desk = desk_of(home, region)
    documents = [summary_of(view) for view in desk.ledger.deliveries(supplier, dataset, period, state)]
    for document in documents:
        document.update(changes=None, receipt=desk.receipts.places(document["delivery"]))
    if as_json:
        say_json(documents)
        return
    columns = ["delivery", "state", "delivered", "accepted", "with warning", "held back", "ignored", "received"]
    table(
        columns,
        [[d["delivery"], state_text(d["state"]), *d["rows"].values(), d["received_at"][:16]] for d in documents],
    )


@command()
def receipt(
    delivery: Annotated[str, typer.Argument(help="Id of the delivery.")],
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """What the supplier was told, with the places of the receipt's files.

    Example: `verbund receipt stadtwerke-x--meter_readings--2024--01`
    """
    document = desk_of(home, region).receipt(delivery)
    _show_receipt(document, as_json, judge_by_exit=False)


@command()
def history(
    target: Annotated[str, typer.Argument(help="A delivery (…--2024--01) or a slot (supplier--dataset--period).")],
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Everything that happened to a delivery or a slot, in order: when, what, who, why.

    Example: `verbund history stadtwerke-x--meter_readings--2024`
    """
    try:
        events = desk_of(home, region).ledger.history(target)
    except ValueError as error:
        fail(str(error), WRONG_USE, as_json=as_json)
    told: list[dict[str, Any]] = [
        {
            "at": e.at.isoformat(),
            "delivery": e.delivery_id,
            "event": e.kind,
            "who": e.who,
            "why": e.why,
            "facts": dict(e.facts),
        }
        for e in events
    ]
    if as_json:
        say_json(told)
        return
    rows = [
        [e["at"][:19], e["delivery"] or target, e["event"], *map(cell, (_facts(e["facts"]), e["who"], e["why"]))]
        for e in told
    ]
    table(["at (UTC)", "delivery", "what", "facts", "who", "why"], rows)


@command()
def replay(
    delivery: Annotated[str | None, typer.Option(help="Only this delivery.")] = None,
    supplier: Annotated[str | None, typer.Option(help="Only this supplier's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only of this dataset.")] = None,
    period: Annotated[str | None, typer.Option(help="Only for this period.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was judged under the present rules.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Judge again from the vault after a contract, dialect or mapping changed.

    Example: `verbund replay --dry-run`, then `verbund replay`
    """
    from dataclasses import asdict

    from quality import replay as replaying

    desk = desk_of(home, region)
    if delivery:
        chosen = [desk.ledger.delivery(delivery)]
    else:
        chosen = replaying.candidates(desk, supplier=supplier, dataset=dataset, period=period, everything=everything)
    with progress(f"judging {len(chosen)} deliveries again", quiet=as_json):
        done = list(replaying.replay(desk, chosen, dry_run=dry_run))
    if as_json:
        say_json({"dry_run": dry_run, "deliveries": [{**asdict(r), "differs": r.differs} for r in done]})
        return
    if not done:
        out.print("Nothing to replay: every verdict was reached under the rules that hold now.")
        return
    rows = [
        [
            r.delivery,
            state_text(r.state_before),
            state_text(r.state_after),
            _accepted(r.rows_before),
            _accepted(r.rows_after),
        ]
        for r in done
    ]
    table(["delivery", "before", "would be" if dry_run else "now", "rows taken before", "rows taken"], rows)


# --- foundation and releases ---


@command()
def build(
    full: Annotated[bool, typer.Option("--full", help="All models, not only what changed.")] = True,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Build the foundation: harmonised tables and indicators from everything accepted.

    Example: `verbund build`
    """
    from quality import foundation
    from quality.supply import publish_supply

    desk = desk_of(home, region)
    with progress("building the foundation", quiet=as_json):
        publish_supply(desk)
        built = foundation.build(desk.settings, full=full)
    _show_build(built, as_json)


@command()
def release(
    note: Annotated[str, typer.Option(help="What this release is for.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Also when nothing changed since the last one.")] = False,
    differences: Annotated[
        tuple[int, int] | None,
        typer.Option("--differences", help="OLD NEW: make none, list what changed between two.", show_default=False),
    ] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Freeze the foundation as a numbered release: DuckDB file, Parquet, manifest.

    Examples: `verbund release --note "Bilanz 2024"`, `verbund release --differences 1 2`
    """
    from quality import release as releasing

    settings = settings_of(home, region)
    if differences:
        changed = releasing.differences(settings, *differences)
        say_json(_plain(changed)) if as_json else out.print_json(data=_plain(changed))
        return
    with progress("freezing the foundation", quiet=as_json):
        made = releasing.release(settings, note=note, force=force)
    if as_json:
        say_json(made.document())
        return
    news = "" if made.is_new else " (nothing changed since; this is the last one, --force makes another)"
    out.print(f"Release {made.number} at {made.path}{news}", markup=False)
    table(["table", "rows"], made.tables.items())


@command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT on the current release.")],
    number: Annotated[
        int | None, typer.Option("--release", help="Another release than the current one.", show_default=False)
    ] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Ask the current release, read-only; loads and builds do not disturb it.

    Example: `verbund query "select area, value from indicators where indicator = 'K-01'"`
    """
    from quality import release as releasing

    answer = releasing.query(settings_of(home, region), sql, number)
    if as_json:
        say_json(answer)
    else:
        table([cell(name) for name in answer["columns"]], [[cell(value) for value in row] for row in answer["rows"]])


# --- templates, packs, contracts, installation ---


@command()
def template(
    dataset: Annotated[str, typer.Argument(help="What is to be delivered.")],
    supplier: Annotated[
        str | None, typer.Option(help="For whom: in their own words, started with what they delivered the last time.")
    ] = None,
    period: Annotated[str | None, typer.Option(help="For when.", show_default="the last one that has ended")] = None,
    to: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="Vorlage_<title>[_<supplier>].xlsx")
    ] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Write a workbook to fill in: help, drop-downs, units, rules and their reasons.

    Example: `verbund template meter_readings --supplier stadtwerke-x --to Vorlage.xlsx`
    """
    from quality.configuration import load_region
    from quality.template import write_template
    from storage.periods import period as read_period

    try:
        asked = read_period(period) if period else None
    except ValueError as error:
        fail(str(error), WRONG_USE, as_json=as_json)
    settings = settings_of(home, region)
    if supplier and (settings.is_server or settings.paths.ledger.exists()):
        from quality.starting import template_for

        made = template_for(desk_of(home, region), dataset, supplier, to, asked)
    else:
        made = write_template(load_region(settings), dataset, supplier, to, period=asked)
    columns = [
        {"name": c.name, "unit": c.unit, "required": c.required, "choices": len(c.choices)} for c in made.columns
    ]
    if as_json:
        say_json({"path": str(made.path), "dataset": dataset, "supplier": supplier, "dialect": made.dialect,
                  "agreed_format": made.agreed_format, "sheet": made.sheet, "first_row": made.first_row,
                  "columns": columns})  # fmt: skip
        return
    out.print(str(made.path), markup=False)
    if made.agreed_format not in (None, "xlsx"):
        out.print(
            f"  {supplier} has agreed to deliver {made.agreed_format}; this template is read as well.", markup=False
        )
    table(
        ["column", "unit", "required", "choices"],
        [[cell(c["name"]), c["unit"], "yes" if c["required"] else "no", c["choices"] or ""] for c in columns],
    )


@command(on=region_app, name="new")
def region_new(
    name: Annotated[str, typer.Argument(help="Id of the region: small letters, digits, dashes.")],
    to: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="regions/NAME of Verbund")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="What the example supplier owes.", show_default="the first by name")
    ] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Begin a region pack: a small one that is sound at once, with a comment on everything that can be said.

    Example: `verbund region new sauerland --to sauerland`, then `verbund region check --region sauerland`
    """
    from quality.packs import new_pack
    from storage.settings import project_root

    pack = new_pack(name, to or project_root() / "regions" / name, dataset=dataset)
    files = sorted(path.relative_to(pack.path).as_posix() for path in pack.files)
    if as_json:
        say_json({"region": pack.region.id, "path": str(pack.path), "files": files})
        return
    out.print(f"{pack.region.name}: a sound pack at {pack.path}", markup=False)
    for file in files:
        out.print(f"  {file}", markup=False)
    out.print(f"Edit the files, then: verbund region check --region {pack.path}", markup=False)


@command(on=region_app, name="export")
def region_export(
    to: Annotated[Path | None, typer.Option(help="File to write.", show_default="<region>.zip")] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Pack the region into one file with a manifest; no state and no secrets are in it.

    Example: `verbund region export --region bergisch --to bergisch.zip`
    """
    from quality.configuration import load_region
    from quality.packs import export_pack

    pack = load_region(settings_of(home, region))
    made = export_pack(pack, to or Path(f"{pack.region.id}.zip"))
    if as_json:
        say_json({"region": pack.region.id, "path": str(made.path), "sha256": made.sha256,
                  "files": len(made.manifest.files), "left_out": made.left_out})  # fmt: skip
        return
    out.print(f"{made.path}: {len(made.manifest.files)} files, sha256 {made.sha256}", markup=False)
    for place in made.left_out:
        out.print(f"  left out, belongs to no pack: {place}", markup=False)


@command(on=region_app, name="import")
def region_import(
    file: Annotated[Path, typer.Argument(help="What `verbund region export` wrote.")],
    to: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="regions/<region> of Verbund")] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Take in a packed region: compared with its manifest, checked as a whole, never over another one.

    Example: `verbund region import bergisch.zip --to bergisch`
    """
    from quality.packs import UnsafePack, import_pack
    from quality.sources import Misconfigured
    from storage.settings import project_root

    try:
        taken = import_pack(file, to, project_root() / "regions")
    except UnsafePack as error:
        fail(str(error), REJECTED, as_json=as_json)
    except Misconfigured as error:
        _show_problems(error, str(file), as_json)
    if as_json:
        say_json({"region": taken.pack.region.id, "path": str(taken.path), "differs": taken.differs})
        return
    out.print(f"{taken.pack.region.name}: taken in at {taken.path}", markup=False)
    for difference in taken.differs:
        out.print(f"  another contract than where it was packed: {difference}", markup=False)


@command(on=region_app, name="check")
def region_check(home: Home = None, region: Region = None, as_json: Json = False) -> None:
    """Check a region pack as a whole: every mistake with file, line and what was expected.

    Example: `verbund region check --region regions/bergisch`
    """
    from quality.configuration import load_region
    from quality.sources import Misconfigured

    settings = settings_of(home, region)
    try:
        pack = load_region(settings)
    except Misconfigured as error:
        _show_problems(error, str(settings.region_dir), as_json)
    counts = {
        "suppliers": len(pack.suppliers),
        "mandates": len(pack.mandates),
        "dialects": len(pack.dialects),
        "datasets": len(pack.contracts),
    }
    if as_json:
        say_json({"region": pack.region.id, "problems": [], **counts})
    else:
        out.print(f"{pack.region.name}: sound ({', '.join(f'{n} {what}' for what, n in counts.items())})")


@command(on=contract_app, name="lint")
def contract_lint(home: Home = None, region: Region = None, as_json: Json = False) -> None:
    """Check every contract: against ODCS 3.1, and for what Verbund needs beyond it.

    Example: `verbund contract lint`
    """
    from quality.lint import lint_contracts

    results = lint_contracts(settings_of(home, region))
    if as_json:
        say_json([{"contract": r.contract, "file": str(r.file), "problems": list(r.problems)} for r in results])
    else:
        table(["contract", "result"], [[r.contract, cell("; ".join(r.problems) or "clean")] for r in results])
    raise typer.Exit(REJECTED if any(r.problems for r in results) else DONE)


@command()
def doctor(home: Home = None, region: Region = None, as_json: Json = False) -> None:
    """Is this installation sound? Versions, extensions, store, ledger, lake, region pack.

    Example: `verbund doctor`
    """
    from dataclasses import asdict

    from quality.doctor import examine

    answers = examine(settings_of(home, region))
    if as_json:
        say_json([asdict(a) for a in answers])
    else:
        table(
            ["", "what", "found", "remedy"],
            [["ok" if a.well else "NOT OK", a.what, cell(a.found), cell(a.remedy)] for a in answers],
        )
    raise typer.Exit(DONE if all(a.well for a in answers) else UNAVAILABLE)


# --- running ---


@command()
def demo(
    home: Home = None,
    region: Annotated[
        str | None,
        typer.Option("--region", help="Region of the demo; only the bergisch pack has one.", show_default="bergisch"),
    ] = None,
    as_json: Json = False,
) -> None:
    """A region with data, sent the real way through everything; prints what happened and where to look.

    Example: `verbund demo`, then `verbund up`
    """
    from verbund.demo_run import run_demo

    run_demo(settings_of(home, region), as_json=as_json)


@command()
def mail(home: Home = None, region: Region = None, as_json: Json = False) -> None:
    """Announce by mail what is news, and send what is due, once; `verbund up` does it all the time.

    Without VERBUND_SMTP_HOST messages are laid into the folder `outbox` of the home.

    Example: `verbund mail`
    """
    from dataclasses import asdict

    from portal.letters import letter
    from quality import mailer

    desk = desk_of(home, region)
    sent = mailer.once(desk, letter)
    desk.close()
    if as_json:
        say_json(asdict(sent))
    else:
        out.print(
            f"{sent.announced} new notices; {sent.sent} messages sent, {sent.put_off} wait, {sent.given_up} given up"
        )


@command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address it listens on.")] = "127.0.0.1",
    judges: Annotated[int, typer.Option(help="Judge processes; the work is shared out among them.", min=1, max=8)] = 1,
    profile: Annotated[
        str | None, typer.Option(envvar="VERBUND_PROFILE", help="local or server.", show_default="local")
    ] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Start everything: judges, reporter, Dagster UI and daemon; end with Ctrl-C.

    Example: `verbund up --port 3000`
    """
    from verbund.processes import supervise

    settings = settings_of(home, region, profile)
    if as_json:
        places = settings.paths
        say_json({"dagster": f"http://{host}:{port}", "inboxes": str(places.inboxes), "logs": str(places.logs)})
        sys.stdout.flush()
        # nothing else may follow on standard output
        out.quiet = True
    raise typer.Exit(supervise(settings, host=host, port=port, judges=judges))


@command(hidden=True)
def judge(
    shard: Annotated[int, typer.Option(help="Which part.")] = 0,
    of: Annotated[int, typer.Option(help="Of how many.")] = 1,
    home: Home = None,
    region: Region = None,
) -> None:
    """Be a judge process (started by `verbund up`)."""
    from quality import judging
    from verbund.processes import stop_on_signal

    _log_to_stderr()
    judging.run(settings_of(home, region), shard=(shard, of), stop=stop_on_signal())


@command(hidden=True)
def intake(home: Home = None, region: Region = None) -> None:
    """Be the intake of the server profile (started by `verbund up`)."""
    from quality import intake
    from verbund.processes import stop_on_signal

    _log_to_stderr()
    intake.run(settings_of(home, region), stop=stop_on_signal())


@command(hidden=True)
def portal(home: Home = None, region: Region = None) -> None:
    """Be the portal (started by `verbund up`)."""
    import uvicorn

    from portal.app import make_app
    from verbund.processes import listening_socket

    _log_to_stderr()
    settings = settings_of(home, region)
    # a front on this machine says where somebody came from
    config = uvicorn.Config(
        make_app(settings),
        log_level="warning",
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1",
        server_header=False,
    )
    # with ten thousand deliveries a search for cycles among everything that lives stopped every page for a third of a second
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 50)
    uvicorn.Server(config).run(sockets=[listening_socket(settings.portal_host, settings.portal_port)])


@command(hidden=True)
def mailer(home: Home = None, region: Region = None) -> None:
    """Be the mailer (started by `verbund up`)."""
    from portal.letters import letter
    from quality import mailer
    from verbund.processes import stop_on_signal

    _log_to_stderr()
    mailer.run(settings_of(home, region), letter, stop=stop_on_signal())


@command(hidden=True)
def observe(home: Home = None, region: Region = None) -> None:
    """Be the observer: metrics and heartbeat (started by `verbund up`)."""
    from quality import observer
    from verbund.processes import stop_on_signal

    _log_to_stderr()
    observer.run(settings_of(home, region), stop=stop_on_signal())


@command(name="process", hidden=True)
def one_process(
    name: Annotated[
        str,
        typer.Argument(help="intake, judge-0, …, portal, mailer, observer, code, web, daemon, launcher or reporter."),
    ],
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address it listens on.")] = "127.0.0.1",
    code_port: Annotated[int, typer.Option(help="Port of Dagster's code server.")] = 3001,
    judges: Annotated[int, typer.Option(help="Judge processes there are.", envvar="VERBUND_JUDGES")] = 1,
    home: Home = None,
    region: Region = None,
) -> None:
    """Be one process of those `verbund up` starts (for systemd)."""
    from verbund.processes import become, processes

    found = {
        process.name: process
        for process in processes(settings_of(home, region), host=host, port=port, code_port=code_port, judges=judges)
    }
    if name not in found:
        fail(f"no process {name!r}; there are: {', '.join(found)}", WRONG_USE)
    become(found[name])


def main() -> None:
    """Entry point of the command `verbund`."""
    app()


def _show_receipt(document: dict[str, Any], as_json: bool, *, judge_by_exit: bool = True) -> None:
    if as_json:
        say_json(document)
    else:
        rows = document["rows"]
        out.print(f"{document['delivery']}: {state_text(document['state'])}")
        if summary := document.get("summary"):
            out.print(summary["de"], markup=False)
        if read_as := document.get("read_as"):
            out.print(f"Gelesen als {read_as['dialect']}: {read_as['looks']['de']}", markup=False)
            out.print(f"  {read_as['because']['de']}", markup=False)
        out.print(
            f"{rows['delivered']} Zeilen = {rows['accepted']} übernommen + {rows['accepted_with_warning']} mit Hinweis "
            f"+ {rows['quarantined']} zurückgehalten + {rows['ignored_by_rule']} nach Regel ausgelassen",
            markup=False,
        )
        for finding in document["findings"]:
            out.print(f"  [bold]{finding['severity']}[/bold] {finding['rule']}: ", end="")
            out.print(finding["message"]["de"], markup=False)
            out.print(f"      → {finding['remedy']['de']}", markup=False)
        for path in (path for path in document["receipt"].values() if path):
            out.print(f"  {path}", markup=False)
    if judge_by_exit and document["state"] == "rejected":
        raise typer.Exit(REJECTED)


def _show_problems(error: Misconfigured, region: str, as_json: bool) -> NoReturn:
    """Every mistake of a pack with file and line; ends the command."""
    if as_json:
        problems = [
            {"file": str(p.file), "line": p.line, "expected": p.expected, "found": p.found} for p in error.problems
        ]
        say_json({"region": region, "problems": problems})
    else:
        for problem in error.problems:
            err.print(str(problem), markup=False, soft_wrap=True)
    raise typer.Exit(REJECTED)


def _show_build(built: Any, as_json: bool) -> None:
    document = _plain(built)
    if as_json:
        say_json(document)
    else:
        out.print_json(data=document, default=str)


def _plain(value: Any) -> Any:
    from dataclasses import asdict, is_dataclass

    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _facts(facts: dict[str, Any]) -> str:
    shown = {
        key: value
        for key, value in facts.items()
        if key in ("state", "of", "by", "was", "attempt", "file_name", "due", "begins")
    }
    return ", ".join(f"{key}={value}" for key, value in shown.items())


def _accepted(rows: dict[str, int]) -> str:
    taken = rows.get("accepted", 0) + rows.get("accepted_with_warning", 0)
    return f"{taken} of {rows.get('delivered', 0)}"


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "command line"


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.Formatter.converter = time.gmtime
    # libraries tell what concerns only themselves
    logging.getLogger("verbund").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
