"""The code location: everything Dagster shows and starts, made from the region pack and the dbt project.

Home and region come from `VERBUND_HOME` and `VERBUND_REGION`. What runs beside Dagster (judge, reporter) is not here.
"""

from __future__ import annotations

import json

import dagster as dg

from orchestration.defs.deliveries.assets import all_delivery_assets
from orchestration.defs.deliveries.calendar import overdue_deliveries
from orchestration.defs.deliveries.replay import replay_deliveries
from orchestration.defs.foundation.assets import foundation_assets, supply_assets
from orchestration.defs.foundation.automation import foundation_follows
from orchestration.defs.maintenance.jobs import maintenance_definitions
from orchestration.defs.releases.jobs import release_definitions
from orchestration.defs.sources.assets import source_assets, source_schedules
from orchestration.marks import slots_refused
from orchestration.reporter import deliveries_judged
from orchestration.resources import DeskResource
from quality.configuration import load_region
from quality.foundation import manifest_file
from storage.settings import Settings


def definitions(settings: Settings) -> dg.Definitions:
    """All definitions of a home and its region.

    Raises:
        Misconfigured: The region pack has mistakes.
        FoundationBroken: dbt cannot parse the project.
    """
    pack = load_region(settings)
    manifest = json.loads(manifest_file(settings).read_text(encoding="utf-8"))
    sources = source_assets(pack)
    ours = dg.Definitions(
        assets=[
            *sources,
            *all_delivery_assets(pack),
            *supply_assets(manifest, pack.shared),
            foundation_assets(manifest, pack.shared),
        ],
        jobs=[deliveries_judged, slots_refused, replay_deliveries],
        schedules=source_schedules(pack),
        sensors=[foundation_follows(), overdue_deliveries],
        resources={"desk": DeskResource()},
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(ours, release_definitions(pack), maintenance_definitions(pack))


defs = definitions(Settings())
