"""What an installation is configured with: its region pack, and the contracts and code lists that every region shares."""

from __future__ import annotations

from pathlib import Path

from quality.heartbeat import with_heartbeat
from quality.region import RegionPack, load_pack
from storage.settings import Settings, project_root


def load_region(settings: Settings) -> RegionPack:
    """The region pack the settings name, with the platform's own heartbeat where one is sent.

    Raises:
        Misconfigured: With every mistake in it.
    """
    pack = load_pack(settings.region_dir, contracts_dir(), code_lists_dir())
    return with_heartbeat(pack) if settings.heartbeat_minutes else pack


def contracts_dir() -> Path:
    """Folder of the contracts that every region shares."""
    return project_root() / "quality" / "contracts"


def code_lists_dir() -> Path:
    """Folder of the code lists that every region shares."""
    return project_root() / "quality" / "codelists"
