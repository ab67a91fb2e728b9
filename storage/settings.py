"""The settings of the whole platform, read from the environment (`VERBUND_…`). There is no second settings class."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from storage.paths import Home

GIB = 1024**3
MIB = 1024**2
#: Credentials of other systems. The platform's own secrets have names with underscores, so no pack can name one of those.
CREDENTIAL_NAME = r"[a-z][a-z0-9-]{1,60}"


class Settings(BaseSettings):
    """Where state lies, which region is served, and how much a single file may cost.

    Given values win over the environment, the environment over files named like the variables (`verbund_s3_secret_key`)
    in the folder `VERBUND_SECRETS_DIR` or systemd's `CREDENTIALS_DIRECTORY`, those over the defaults here.
    """

    model_config = SettingsConfigDict(
        env_prefix="VERBUND_",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        # what was given is not repeated in an error: it may be a secret
        hide_input_in_errors=True,
    )

    home: Path = Field(default=Path(".verbund"), validate_default=True)
    """All state. Made absolute when read, so that child processes with another working folder mean the same place."""
    region: str = "bergisch"
    """A folder with a region pack, or the name of one under `regions/` of the project."""
    profile: Literal["local", "server"] = "local"

    database_url: SecretStr | None = None
    """Database of the server profile, as SQLAlchemy writes it: `postgresql+psycopg://user:password@host/verbund`."""
    s3_endpoint: str | None = Field(default=None, pattern=r"^https?://[^/@]+/?$")
    """Address of the object store of the server profile."""
    s3_kind: Literal["minio", "iam"] = "minio"
    """How the store's users are made, and whether it tells arrivals: `minio`, by MinIO's administration, and it does; `iam`,
    by AWS's IAM API (SeaweedFS), and it does not, so the sweep finds them."""
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    s3_ca_file: Path | None = None
    """Certificates to trust where the store's is signed by an authority of one's own."""
    s3_bucket: str = Field(default="verbund", pattern=r"^[a-z0-9][a-z0-9-]{1,40}$")
    """Bucket of inboxes and receipts; vault, lake and releases have buckets of this name with a suffix."""
    vault_lock_days: int = Field(default=3653, ge=0)
    """How long the store refuses to delete what is in the vault, where it can; 0 asks for no lock."""

    admin_database_url: SecretStr | None = None
    """For `verbund server` alone, as the others that begin so: a role that may make roles. Default: `database_url`."""
    admin_s3_endpoint: str | None = Field(default=None, pattern=r"^https?://[^/@]+/?$")
    """The store's administration, which its front shows to nobody else. Default: `s3_endpoint`."""
    admin_s3_access_key: str | None = None
    """A user of the store who may make users and buckets. Default: `s3_access_key`."""
    admin_s3_secret_key: SecretStr | None = None
    admin_events_password: SecretStr | None = None
    """What the store's notifications log in with at the database."""

    max_file_bytes: int = Field(default=4 * GIB, gt=0)
    max_unpacked_bytes: int = Field(default=16 * GIB, gt=0)
    """What an archive (also a workbook) may hold unpacked."""
    max_unpack_ratio: int = Field(default=200, gt=1)
    """How many times its packed size an archive may hold, above the first 64 MiB."""
    judge_memory_mb: int = Field(default=480, ge=128)
    """What DuckDB may use while judging; the process needs about 500 MB besides. Ten million keys take 380 MB to compare."""
    judge_seconds: int = Field(default=600, gt=0)
    """After this time the throw-away process that judges a dangerous file is ended."""
    batch_seconds: float = Field(default=0.5, gt=0)
    """The judge answers at least this often."""
    sweep_seconds: float = Field(default=30.0, gt=0)
    """How often inboxes are looked through for what no event told."""

    backup_dir: Path | None = None
    """Folder of the backups: where `verbund backup` puts them when not told, and where the observer looks how old they are."""
    portal_host: str = "127.0.0.1"
    portal_port: int = Field(default=8080, gt=0, lt=65536)
    """Where the portal's pages are; a front with TLS stands before it wherever others than this machine may come."""
    portal_url: str | None = Field(default=None, pattern=r"^https?://[^/@\s]+/?$")
    """Address people know the portal by, for links in mails and calendars. Default: `portal_host` and `portal_port`."""
    oidc_issuer: str | None = Field(default=None, pattern=r"^https?://[^@\s]+$")
    """Where people sign in by OpenID Connect (for Keycloak `https://host/realms/name`). With it nobody signs in by password, and
    the groups named there give the roles."""
    oidc_client_id: str = "verbund-portal"
    oidc_client_secret: SecretStr | None = None
    oidc_groups_claim: str = "groups"
    """Claim of the ID token that lists somebody's groups."""
    oidc_group_prefix: str = "verbund"
    """Groups below it count: `verbund/coordinator`, `verbund/engineer`, `verbund/observer`, `verbund/lead/SUPPLIER`,
    `verbund/clerk/SUPPLIER`."""
    smtp_host: str | None = None
    """Mail server that messages go out by; without one they are laid into the folder `outbox` of the home."""
    smtp_port: int = Field(default=587, gt=0, lt=65536)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` and `tls` send nothing to a server whose certificate is not trusted; `none` is for one on this machine."""
    smtp_ca_file: Path | None = None
    """Certificates to trust where the mail server's is signed by an authority of one's own."""
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    mail_from: str = Field(default="verbund@localhost", pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$")
    """Address messages come from."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9464, ge=0, lt=65536)
    """Where the observer shows its metrics; 0: nowhere. They name suppliers and how many they deliver, nothing of what."""
    heartbeat_minutes: float = Field(default=0.0, ge=0)
    """How often the platform sends itself a delivery, to see that the whole way is open; 0: never."""
    heartbeat_access_key: str | None = None
    """Key of the heartbeat's own user of the store (`verbund server key verbund-heartbeat`); default: the platform's."""
    heartbeat_secret_key: SecretStr | None = None

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("database_url", "admin_database_url")
    @classmethod
    def _leads_to_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        # imported here: the embedded profile has no use for it
        import psycopg
        from psycopg.conninfo import make_conninfo
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        if url is None:
            return None
        try:
            parsed = make_url(url.get_secret_value())
            make_conninfo("", **{name: str(value) for name, value in parsed.query.items()})
            host = parsed.host or parsed.query.get("host")
            if parsed.get_backend_name() == "postgresql" and parsed.username and host and parsed.database:
                return url
        except (ArgumentError, ValueError, psycopg.ProgrammingError):
            pass
        raise ValueError("expected postgresql+psycopg://role:password@host:port/database, marks in the password as %40")

    @model_validator(mode="after")
    def _says_no_password_in_the_open(self) -> Settings:
        if self.smtp_user and self.smtp_password and self.smtp_security == "none":
            raise ValueError(
                "VERBUND_SMTP_PASSWORD is sent over TLS only: VERBUND_SMTP_SECURITY must be starttls or tls"
            )
        return self

    @model_validator(mode="after")
    def _signs_in_with_a_secret(self) -> Settings:
        if self.oidc_issuer and self.oidc_client_secret is None:
            raise ValueError("sign-in by VERBUND_OIDC_ISSUER needs VERBUND_OIDC_CLIENT_SECRET")
        return self

    @model_validator(mode="after")
    def _server_is_whole(self) -> Settings:
        if self.profile == "server":
            wanted = ("database_url", "s3_endpoint", "s3_access_key", "s3_secret_key")
            if missing := [f"VERBUND_{name.upper()}" for name in wanted if getattr(self, name) is None]:
                raise ValueError(f"the server profile needs {', '.join(missing)}")
        return self

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        folder = _secrets_folder()
        files = (SecretsSettingsSource(settings_cls, secrets_dir=folder),) if folder else ()
        return (init_settings, env_settings, *files)

    @property
    def is_server(self) -> bool:
        """Whether state lies in PostgreSQL and an object store; `home` is then this machine's working folder."""
        return self.profile == "server"

    def environment(self) -> dict[str, str]:
        """These settings for a process of ours, secrets among them: what another `Settings()` must be told.

        No process that works needs what begins with `admin_`, so none gets it.
        """
        told = {name: getattr(self, name) for name in self.model_fields_set | {"home"} if not name.startswith("admin_")}
        told["region"] = self.region_dir
        return {
            f"VERBUND_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in told.items()
            if value is not None
        }

    @property
    def paths(self) -> Home:
        """All places under `home`."""
        return Home(self.home)

    @property
    def portal_address(self) -> str:
        """What links to the portal begin with."""
        return (self.portal_url or f"http://{self.portal_host}:{self.portal_port}").rstrip("/")

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


def credential(name: str) -> SecretStr | None:
    """What another system lets us in with, by the name that the region pack has for it; None where nobody gave it.

    As with settings the environment (`VERBUND_CREDENTIAL_STADTWERKE_X` for `stadtwerke-x`) wins over a file of that name
    in the folder of secrets. Spaces and line ends around it are no part of it.

    Raises:
        ValueError: The name is none of a credential: it could be that of a secret of the platform.
    """
    if not re.fullmatch(CREDENTIAL_NAME, name):
        raise ValueError(f"{name!r} is not the name of a credential")
    text = os.environ.get(f"VERBUND_CREDENTIAL_{name.replace('-', '_').upper()}", "").strip()
    folder = _secrets_folder()
    if not text and folder:
        file = Path(folder) / name
        text = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
    return SecretStr(text) if text else None


def _secrets_folder() -> str | None:
    return os.environ.get("VERBUND_SECRETS_DIR") or os.environ.get("CREDENTIALS_DIRECTORY")


def project_root() -> Path:
    """Folder that holds the packages, `regions/` and `transformations/`."""
    return Path(__file__).resolve().parents[1]
