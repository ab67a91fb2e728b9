"""How dbt's nodes are called in Dagster: layer first, sources under the key of the asset that fills them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from orchestration.defs.foundation.automation import SOME_DELIVERY_ACCEPTED


class LayerTranslator(DagsterDbtTranslator):
    """Keys `staging/…`, `intermediate/…`, `marts/…`, `seeds/…`; group and key prefix are the same word."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Layer and name; a source has the key of the asset behind it."""
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([layer_of(dbt_resource_props), dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer."""
        return layer_of(dbt_resource_props)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """What the model's author wrote; the SQL is in the repository."""
        return str(dbt_resource_props.get("description") or "")

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition | None:
        """Models follow what is accepted; seeds change with the project, and then everything is built."""
        return None if dbt_resource_props["resource_type"] == "seed" else SOME_DELIVERY_ACCEPTED


def layer_of(dbt_resource_props: Mapping[str, Any]) -> str:
    """`staging`, `intermediate` or `marts` by the model's folder; `seeds` for what is no model."""
    return "seeds" if dbt_resource_props["resource_type"] == "seed" else str(dbt_resource_props["fqn"][1])
