"""Judging again after a contract, dialect or mapping changed: first told, then done."""

import dagster as dg

from orchestration.resources import DeskResource
from quality.replay import candidates, replay


class ReplayConfig(dg.Config):
    """Which deliveries to judge again. Empty texts mean all; `dry_run` only tells what would change."""

    supplier: str = ""
    dataset: str = ""
    period: str = ""
    everything: bool = False
    dry_run: bool = True


@dg.op
def replay_from_vault(context: dg.OpExecutionContext, config: ReplayConfig, desk: DeskResource) -> None:
    """Judge the chosen deliveries again; the reporter tells the outcome, as after any verdict."""
    with desk.open("replay") as at:
        chosen = candidates(
            at,
            supplier=config.supplier or None,
            dataset=config.dataset or None,
            period=config.period or None,
            everything=config.everything,
        )
        lines = ["| delivery | before | after | accepted before | accepted after |", "| --- | --- | --- | --- | --- |"]
        changed = 0
        for result in replay(at, chosen, dry_run=config.dry_run):
            if result.differs:
                changed += 1
                rows = [
                    r.get("accepted", 0) + r.get("accepted_with_warning", 0)
                    for r in (result.rows_before, result.rows_after)
                ]
                lines.append(
                    f"| {result.delivery} | {result.state_before} | {result.state_after} | {rows[0]} | {rows[1]} |"
                )
    verb = "would change" if config.dry_run else "changed"
    context.log.info(f"{len(chosen)} deliveries were judged again, {changed} {verb}")
    context.add_output_metadata(
        {
            "judged_again": len(chosen),
            "changed": changed,
            "dry_run": config.dry_run,
            "what": dg.MetadataValue.md("\n".join(lines)),
        }
    )


@dg.job(
    description="Judges deliveries again from the vault, by what holds now. `dry_run` (the default) stores nothing."
)
def replay_deliveries() -> None:
    """One step."""
    replay_from_vault()
