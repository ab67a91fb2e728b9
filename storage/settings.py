"""The settings of the whole platform, read from the environment (`VERBUND_…`). There is no second settings class."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.paths import Home

GIB = 1024**3
MIB = 1024**2


class Settings(BaseSettings):
    """Where state lies, which region is served, and how much a single file may cost.

    Given values win over the environment, the environment over the defaults here.
    """

    model_config = SettingsConfigDict(env_prefix="VERBUND_", extra="ignore", frozen=True, env_ignore_empty=True)

    home: Path = Field(default=Path(".verbund"), validate_default=True)
    """All state. Made absolute when read, so that child processes with another working folder mean the same place."""
    region: str = "bergisch"
    """A folder with a region pack, or the name of one under `regions/` of the project."""
    profile: Literal["local", "server"] = "local"

    database_url: SecretStr | None = None
    """Ledger in a database server, as SQLAlchemy writes it; without it the ledger is a file in `home`."""

    max_file_bytes: int = Field(default=4 * GIB, gt=0)
    max_unpacked_bytes: int = Field(default=16 * GIB, gt=0)
    """What an archive (also a workbook) may hold unpacked."""
    max_unpack_ratio: int = Field(default=200, gt=1)
    """How many times its packed size an archive may hold, above the first 64 MiB."""
    judge_memory_mb: int = Field(default=600, ge=128)
    """What DuckDB may use while judging; the process needs about 300 MB besides."""
    judge_seconds: int = Field(default=600, gt=0)
    """After this time the throw-away process that judges a dangerous file is ended."""
    batch_seconds: float = Field(default=0.5, gt=0)
    """The judge answers at least this often."""
    sweep_seconds: float = Field(default=30.0, gt=0)
    """How often inboxes are looked through for what no event told."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @property
    def paths(self) -> Home:
        """All places under `home`."""
        return Home(self.home)

    @property
    def ledger_url(self) -> str:
        """Address of the ledger, for SQLAlchemy."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.paths.ledger}"

    @property
    def region_dir(self) -> Path:
        """Folder of the region pack; whether it exists and is sound is for the pack's own check to say."""
        # a bare name means our own pack first, so that the folder one happens to stand in changes nothing
        named = project_root() / "regions" / self.region
        given = Path(self.region).expanduser().absolute()
        return given if given.is_dir() and not named.is_dir() else named


def project_root() -> Path:
    """Folder that holds the packages, `regions/` and `transformations/`."""
    return Path(__file__).resolve().parents[1]
