"""Patterns mean the files that people mean, and a credential comes from where secrets are and from nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from storage.objects.local import LocalStore
from storage.objects.pattern import beginning, checked_pattern, fits, leads_into
from storage.places import BucketAddress, SftpAddress, UnusableCredential, bucket, bucket_address, sftp_address
from storage.settings import credential


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("*", ["a.csv", ".a"], ["b/a.csv"]),
        ("*.csv", ["a.csv"], ["a.CSV", "a.csv.part", "b/a.csv"]),
        ("20*/*.csv", ["2023/a.csv"], ["a.csv", "2023/b/a.csv", "alt/a.csv"]),
        ("**/*.csv", ["a.csv", "b/a.csv", "b/c/a.csv"], ["b/c/a.txt"]),
        ("b/**/a.csv", ["b/a.csv", "b/c/d/a.csv"], ["a.csv", "c/a.csv"]),
        ("b/**", ["b/a.csv", "b/c/a.csv"], ["a.csv"]),
        ("GV100AD_[0-9]?.asc", ["GV100AD_12.asc"], ["GV100AD_ab.asc"]),
    ],
)
def test_a_pattern_means_these_files_and_no_others(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    assert [key for key in meant + not_meant if fits(pattern, key)] == meant
    for key in meant:
        assert key.startswith(beginning(pattern))
        folders = key.split("/")[:-1]
        assert all(leads_into(pattern, "/".join(folders[: at + 1])) for at in range(len(folders)))


def test_folders_a_pattern_does_not_lead_into_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("2023/a.csv", "2023/deep/b.csv", "lost+found/c.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    opened, scan = [], os.scandir

    def scandir(path: Path) -> Any:
        opened.append(path)
        return scan(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert [found.key for found in LocalStore(tmp_path).matching("20*/*.csv")] == ["2023/a.csv"]
    assert [path.name for path in opened] == [tmp_path.name, "2023"]


@pytest.mark.parametrize("pattern", ["", "/a.csv", "../a.csv", "a//b", "a/./b"])
def test_a_pattern_that_leads_elsewhere_is_none(pattern: str) -> None:
    with pytest.raises(ValueError, match="no pattern of files"):
        checked_pattern(pattern)


def test_addresses_are_read() -> None:
    assert sftp_address("sftp://verbund@works.example.org/out") == SftpAddress(
        "verbund", "works.example.org", 22, "/out"
    )
    assert sftp_address("sftp://a%40b@[::1]:2222/m%C3%BCll/") == SftpAddress("a@b", "::1", 2222, "/müll/")
    assert bucket_address("s3://exports") == BucketAddress("exports", "")
    assert bucket_address("s3://exports/waste/2023/") == BucketAddress("exports", "waste/2023/")


def test_the_environment_wins_over_the_folder_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERBUND_SECRETS_DIR", str(tmp_path))
    assert credential("works-x") is None
    (tmp_path / "works-x").write_text("from the file\n")
    assert credential("works-x") == SecretStr("from the file")
    monkeypatch.setenv("VERBUND_CREDENTIAL_WORKS_X", "from the environment")
    assert credential("works-x") == SecretStr("from the environment")
    monkeypatch.delenv("VERBUND_CREDENTIAL_WORKS_X")
    monkeypatch.delenv("VERBUND_SECRETS_DIR")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert credential("works-x") == SecretStr("from the file")


@pytest.mark.parametrize("name", ["verbund_s3_secret_key", "../shadow", "minio.env", "", "postgres_password"])
def test_a_pack_cannot_name_a_secret_of_the_platform(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERBUND_SECRETS_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="not the name of a credential"):
        credential(name)


def test_a_credential_of_another_kind_is_refused_without_being_shown() -> None:
    with pytest.raises(UnusableCredential) as refused:
        bucket(BucketAddress("a", ""), "https://s3.example.org", SecretStr("geheim"), region="us-east-1", ca_file=None)
    assert "AWS_ACCESS_KEY_ID" in str(refused.value) and "geheim" not in str(refused.value)
