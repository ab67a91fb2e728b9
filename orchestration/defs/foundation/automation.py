"""When the foundation is built: as soon as some delivery was judged, without waiting for the others."""

from __future__ import annotations

import dagster as dg

#: A rejected or missing delivery leaves a hole in `accepted`, and a plain `eager()` would wait for holes to fill.
SOME_DELIVERY_ACCEPTED = (
    dg.AutomationCondition.eager()
    .without(~dg.AutomationCondition.any_deps_missing())
    .with_label("some_delivery_accepted")
)

#: What is known of the region changes with the region pack, which is part of the code location.
REGION_CHANGED = (
    (dg.AutomationCondition.missing().newly_true() | dg.AutomationCondition.code_version_changed()).since_last_handled()
    & ~dg.AutomationCondition.in_progress()
).with_label("region_changed")


def foundation_follows() -> dg.AutomationConditionSensorDefinition:
    """The sensor that looks for what became due; Dagster's own would look every 30 s only."""
    return dg.AutomationConditionSensorDefinition(
        "foundation_follows",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=3,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Builds the branches of the foundation whose deliveries were judged.",
    )
