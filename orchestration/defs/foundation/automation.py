"""When the foundation is built: as soon as some delivery was judged, without waiting for the others."""

from __future__ import annotations

from typing import Any

import dagster as dg

#: A rejected or missing delivery leaves a hole in `accepted`, and a plain `eager()` would wait for holes to fill.
SOME_DELIVERY_ACCEPTED = (
    dg.AutomationCondition.eager()
    .without(~dg.AutomationCondition.any_deps_missing())
    .with_label("some_delivery_accepted")
)

# `eager()` leaves alone what was missing when it first looked; a new home is built without a delivery
_HANDLED: Any = dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
_NEVER_BUILT: Any = dg.AutomationCondition.missing().since(_HANDLED) & dg.AutomationCondition.missing()
_AT_REST: Any = ~dg.AutomationCondition.in_progress()

#: The state of supply follows every verdict, and is there before the first.
SOME_DELIVERY_JUDGED: Any = (SOME_DELIVERY_ACCEPTED | (_NEVER_BUILT & _AT_REST)).with_label("some_delivery_judged")

_NEW_REGION: Any = dg.AutomationCondition.code_version_changed()
#: What is known of the region changes with the region pack, which is part of the code location.
REGION_CHANGED: Any = ((_NEW_REGION.since_last_handled() | _NEVER_BUILT) & _AT_REST).with_label("region_changed")


def foundation_follows() -> dg.AutomationConditionSensorDefinition:
    """The sensor that looks for what became due; Dagster's own would look every 30 s only."""
    return dg.AutomationConditionSensorDefinition(
        "foundation_follows",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=3,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Builds the branches of the foundation whose deliveries were judged.",
    )
