"""How dbt's nodes are called in Dagster, and what they follow: layer first, sources under the asset that fills them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from orchestration.defs.foundation.automation import at_rest, follows_acceptance
from orchestration.report import ACCEPTED, SUPPLY_KEY

#: Models with this tag are built after every verdict, whatever was delivered.
EVERY_DELIVERY = "every_delivery"
#: Tables of the region pack begin so; they change with the pack and not with deliveries.
REGION = "region_"


class LayerTranslator(DagsterDbtTranslator):
    """Keys `staging/…`, `intermediate/…`, `marts/…`, `seeds/…`; group and key prefix are the same word.

    Args:
        manifest: dbt's manifest.
        datasets: Names of the contracts: sources of this name hold rows of deliveries.
    """

    def __init__(self, manifest: Mapping[str, Any], datasets: Set[str]) -> None:
        super().__init__()
        self._ignored = ignored_parents(manifest, datasets)
        self._nodes = {**manifest["nodes"], **manifest["sources"]}
        self.gate = at_rest(held_by_every_build(manifest))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Layer and name; a source has the key of the asset behind it."""
        return key_of(dbt_resource_props)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer."""
        return layer_of(dbt_resource_props)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """What the model's author wrote; the SQL is in the repository."""
        return str(dbt_resource_props.get("description") or "")

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition[Any] | None:
        """Models follow what is accepted; seeds change with the project, and then everything is built."""
        if dbt_resource_props["resource_type"] == "seed":
            return None
        ignored = [key_of(self._nodes[parent]) for parent in self._ignored.get(dbt_resource_props["unique_id"], ())]
        condition: dg.AutomationCondition[Any] = follows_acceptance(self.gate, ignored)
        return condition


def key_of(node: Mapping[str, Any]) -> dg.AssetKey:
    """Asset key of a node or source."""
    if node["resource_type"] == "source":
        return dg.AssetKey([node["source_name"], node["name"]])
    return dg.AssetKey([layer_of(node), node["name"]])


def layer_of(node: Mapping[str, Any]) -> str:
    """`staging`, `intermediate` or `marts` by the model's folder; `seeds` for what is no model."""
    return "seeds" if node["resource_type"] == "seed" else str(node["fqn"][1])


def held_by_every_build(manifest: Mapping[str, Any]) -> list[dg.AssetKey]:
    """The state of supply, which a build begins with, and the models that follow every verdict."""
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    return [SUPPLY_KEY, *(key_of(model) for model in models if EVERY_DELIVERY in model["tags"])]


def ignored_parents(manifest: Mapping[str, Any], datasets: Set[str]) -> dict[str, list[str]]:
    """Parents whose change does not ask for a model again: the state of supply, which changes with every verdict.

    Models tagged `every_delivery` follow it, and so do models that read nothing else. Every other model would be built
    for the deliveries of all datasets.
    """
    nodes = {**manifest["nodes"], **manifest["sources"]}
    parents = {
        name: [p for p in node.get("depends_on", {}).get("nodes", ()) if p in nodes] for name, node in nodes.items()
    }
    seen: dict[str, frozenset[str]] = {}

    def sources_of(name: str) -> frozenset[str]:
        if name not in seen:
            node = nodes[name]
            own = {node["name"]} if node["resource_type"] == "source" and node["source_name"] == ACCEPTED else set()
            seen[name] = frozenset(own).union(*(sources_of(parent) for parent in parents[name]))
        return seen[name]

    def is_state_of_supply(name: str) -> bool:
        sources = sources_of(name)
        return not sources & datasets and any(not source.startswith(REGION) for source in sources)

    return {
        name: ignored
        for name, node in nodes.items()
        if node["resource_type"] == "model" and EVERY_DELIVERY not in node["tags"] and sources_of(name) & datasets
        if (ignored := [parent for parent in parents[name] if is_state_of_supply(parent)])
    }
