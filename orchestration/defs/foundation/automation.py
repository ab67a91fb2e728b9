"""When the foundation is built: as soon as some delivery was judged, without waiting for the others."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce
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
_NEW_VERSION: Any = dg.AutomationCondition.code_version_changed()
_NEW_REGION: Any = _NEW_VERSION.since_last_handled()


def at_rest(keys: Iterable[dg.AssetKey]) -> Any:
    """True while none of these is being built.

    They are what every build holds. Without this, a verdict that arrives during a build is followed in pieces: each
    asset on its own as soon as the build is done with it.
    """
    conditions = [
        ~dg.AutomationCondition.asset_matches(key, dg.AutomationCondition.in_progress()) for key in sorted(keys)
    ]
    return reduce(operator.and_, conditions).with_label("no_build_in_progress")


def follows_verdicts(gate: Any) -> Any:
    """The state of supply follows every verdict, and is there before the first."""
    return ((SOME_DELIVERY_ACCEPTED | _NEVER_BUILT) & gate).with_label("some_delivery_judged")


def follows_region(gate: Any) -> Any:
    """What is known of the region changes with the region pack, which is part of the code location."""
    return ((_NEW_REGION | _NEVER_BUILT) & gate).with_label("region_changed")


def follows_acceptance(gate: Any, ignored: Iterable[dg.AssetKey] = ()) -> Any:
    """A model follows the datasets it reads; changes of the parents in `ignored` do not ask for it."""
    keys = list(ignored)
    branch = SOME_DELIVERY_ACCEPTED.ignore(dg.AssetSelection.assets(*keys)) if keys else SOME_DELIVERY_ACCEPTED
    return (branch & gate).with_label("some_delivery_of_its_datasets_accepted")


def foundation_follows() -> dg.AutomationConditionSensorDefinition:
    """The sensor that looks for what became due; Dagster's own would look every 30 s only."""
    return dg.AutomationConditionSensorDefinition(
        "foundation_follows",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=3,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Builds the branches of the foundation whose deliveries were judged.",
    )
