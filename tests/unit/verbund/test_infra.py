"""The files an operator installs say what the platform starts: systemd's units, the compose file, and how secrets are made."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from storage.settings import Settings, project_root
from verbund import processes
from verbund.cli import app

INFRA = project_root() / "infra"
UNITS = sorted((INFRA / "systemd").glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yml").read_text(encoding="utf-8"))
#: What holds on to the machine.
GUARDS = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "CapabilityBoundingSet": "",
}
#: Parts of ours beside the platform's own processes.
NOT_OURS = {"verbund-minio.service"}


def entries(unit: Path) -> dict[str, list[str]]:
    """A unit's settings by name; a name may come more than once."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> set[str]:
    """Names of the processes that `verbund up` starts in the server profile."""
    from orchestration import instance

    # its own storage is in the database, which is not there
    monkeypatch.setattr(instance, "prepare_instance", lambda settings: tmp_path)
    settings = Settings(
        home=tmp_path / "home", profile="server", s3_endpoint="https://store", s3_access_key="a", s3_secret_key="b",
        database_url="postgresql+psycopg://verbund:x@db/verbund",
    )  # type: ignore[arg-type]  # fmt: skip
    return {p.name for p in processes.processes(settings, host="h", port=1, code_port=2, judges=1)}


def accepted(arguments: list[str]) -> dict[str, Any]:
    """What the command line makes of arguments; fails where it refuses them. Nothing is run."""
    command: Any = typer.main.get_command(app)
    left = list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[left.pop(0)]
    return dict(command.make_context(command.name, left).params)


def test_there_is_a_unit_for_each_process_and_none_for_another(names: set[str]) -> None:
    started = set()
    for unit in UNITS:
        if unit.name in NOT_OURS:
            continue
        program, *arguments = entries(unit)["ExecStart"][0].split()
        assert program == "/opt/verbund/.venv/bin/verbund"
        assert arguments[0] == "process"
        started.add(accepted(arguments)["name"].replace("%i", "0"))
    assert started == names


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_takes_secrets_as_credentials_and_holds_on_to_nothing_else(unit: Path) -> None:
    told = entries(unit)
    for name, value in GUARDS.items():
        assert told[name] == [value], name
    assert told["User"][0].startswith("verbund")
    assert not [value for values in told.values() for value in values if "SECRET" in value.upper() and "KEY=" in value]
    if unit.name not in NOT_OURS:
        loaded = {value.split(":")[0]: value.split(":")[1] for value in told["LoadCredential"]}
        if unit.name == "verbund-observer.service":
            # a folder: its files become credentials of this name and theirs, and it may be empty
            assert Path(loaded.pop("verbund_heartbeat")).name == "heartbeat"
            assert {"heartbeat_access_key", "heartbeat_secret_key"} <= set(Settings.model_fields)
        if unit.name == "verbund-mailer.service":
            assert Path(loaded.pop("verbund_smtp")).name == "smtp"
            assert {"smtp_user", "smtp_password"} <= set(Settings.model_fields)
        if unit.name == "verbund-portal.service":
            assert Path(loaded.pop("verbund_oidc")).name == "oidc"
            assert "oidc_client_secret" in Settings.model_fields
        fields = {name.removeprefix("verbund_") for name in loaded}
        assert fields == {"database_url", "s3_access_key", "s3_secret_key"} <= set(Settings.model_fields)
        assert all(Path(file).name == name for name, file in loaded.items())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for unit in (INFRA / "systemd").glob("verbund*"):
        text = unit.read_text(encoding="utf-8")
        # the programs are where an operator puts them, and not here
        for program in ("/opt/verbund/.venv/bin/verbund", "/opt/minio/minio"):
            text = text.replace(f"ExecStart={program}", "ExecStart=/bin/true")
        (tmp_path / unit.name.replace("@", "@0")).write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.glob("*.service")), str(tmp_path / "verbund.target")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")


def test_the_settings_of_the_units_are_settings() -> None:
    lines = (INFRA / "systemd" / "verbund.env").read_text(encoding="utf-8").splitlines()
    names = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
    assert {name.removeprefix("VERBUND_").lower() for name in names} - {"judges"} <= set(Settings.model_fields)


def services() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from COMPOSE["services"].items()


def test_the_compose_file_starts_the_platform_by_its_own_commands() -> None:
    up = accepted(COMPOSE["services"]["verbund"]["command"])
    assert (up["profile"], up["host"], up["port"]) == ("server", "0.0.0.0", 3000)
    assert accepted(COMPOSE["services"]["init"]["command"])["as_json"] is False
    minio = dict(entries(INFRA / "systemd" / "verbund-minio.service"))["ExecStart"][0].split()
    assert COMPOSE["services"]["minio"]["command"][0] == minio[1]
    assert "haproxy.cfg" in COMPOSE["services"]["front"]["command"][-1]


@pytest.mark.parametrize(("name", "service"), services(), ids=[name for name, _ in services()])
def test_a_container_has_no_rights_a_named_version_and_says_whether_it_is_well(
    name: str, service: dict[str, Any]
) -> None:
    user, version = service["user"], service["image"].partition(":")[2]
    assert user.split(":")[0] not in ("0", "root")
    assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
    assert version and version != "latest"
    if name != "init":
        assert service["healthcheck"]["test"]
    # what is published to all the world is the front alone
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []) if name != "front")


def test_secrets_are_files_and_the_administrators_are_init_s_alone() -> None:
    for name, service in services():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        environment = service.get("environment", {})
        assert not [k for k in environment if "SECRET_KEY" in k or k.endswith(("PASSWORD", "DATABASE_URL"))]
        if name != "init":
            assert not [secret for secret in service.get("secrets", []) if "admin" in secret]
        told = {k.removeprefix("VERBUND_").lower() for k in environment if k.startswith("VERBUND_")}
        if name in ("init", "verbund"):
            assert told - {"secrets_dir"} <= set(Settings.model_fields)


def test_minio_is_reached_by_its_front_and_by_init_only() -> None:
    store = {name for name, service in services() if "store" in list(service["networks"])}
    assert store == {"minio", "front", "init"}
    assert COMPOSE["networks"]["store"]["internal"] is True
    assert "ports" not in COMPOSE["services"]["minio"]


def test_secrets_are_made_once_for_their_owner_alone_and_are_what_the_settings_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "secrets"
    make = [str(INFRA / "make-secrets"), str(folder), "postgres", "/data/queue"]
    subprocess.run(make, check=True, capture_output=True)
    made = {file.name: file.read_text() for file in folder.iterdir()}
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert set(made) | {"s3.pem"} == set(COMPOSE["secrets"])
    subprocess.run(make, check=True, capture_output=True)
    assert {file.name: file.read_text() for file in folder.iterdir()} == made
    for name in list(os.environ):
        if name.startswith("VERBUND_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VERBUND_SECRETS_DIR", str(folder))
    read = Settings(home=tmp_path, profile="server", s3_endpoint="https://store")
    assert read.database_url and read.admin_database_url and read.s3_secret_key and read.admin_events_password
    assert read.s3_access_key == made["verbund_s3_access_key"]
    # every name in braces was filled in, and MinIO logs in with the password the database is given
    assert "${" not in made["minio.env"]
    assert made["minio.env"].count(f"password={read.admin_events_password.get_secret_value()} ") == 2
    secrets = [text for name, text in made.items() if not name.endswith(("access_key", ".env"))]
    assert len(set(secrets)) == len(secrets)
