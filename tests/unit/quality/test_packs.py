"""A region pack begins sound, travels as one file, and nothing that only looks like one is taken in."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from quality.configuration import contracts_dir, load_region
from quality.contract import load_contracts
from quality.errors import Refused
from quality.forms import standard_dialect
from quality.packs import FORMAT, MANIFEST, UnsafePack, export_pack, import_pack, new_pack
from quality.sources import Misconfigured
from storage.settings import Settings, project_root

BERGISCH = project_root() / "regions" / "bergisch"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("packed") / "bergisch.zip"
    export_pack(load_region(Settings(region=str(BERGISCH))), to)
    return to


def contents(file: Path) -> Files:
    with zipfile.ZipFile(file) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def repacked(files: Files, to: Path) -> Path:
    """A pack of these files with a manifest that is right about them."""
    manifest = json.loads(files[MANIFEST])
    rest = {name: content for name, content in files.items() if name != MANIFEST}
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in rest.items()
    }
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name, content in rest.items():
            archive.writestr(name, content)
    return to


def nothing_was_left(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


# --- a new pack ---


@pytest.mark.parametrize("dataset", sorted(load_contracts(contracts_dir())))
def test_a_new_pack_is_sound_at_once_for_every_dataset(tmp_path: Path, dataset: str) -> None:
    pack = new_pack("sauerland", tmp_path / "pack", dataset=dataset)
    assert pack.region.id == "sauerland"
    assert [mandate.dataset for mandate in pack.mandates] == [dataset]
    (dialect,) = pack.dialects.values()
    standard = standard_dialect(pack.contracts[dataset])
    assert dialect.model_dump_json(exclude={"note"}) == standard.model_dump_json(exclude={"note"})


def test_a_new_pack_has_every_file_with_comments(tmp_path: Path) -> None:
    new_pack("sauerland", tmp_path / "pack")
    files = {
        path.relative_to(tmp_path / "pack").as_posix() for path in (tmp_path / "pack").rglob("*") if path.is_file()
    }
    named = {"region.yml", "suppliers.yml", "mandates.yml", "mappings.csv", "sites.csv", "sources.yml"}
    assert files > named
    assert len([name for name in files if name.startswith("dialects/")]) == 1
    for name in files:
        assert (tmp_path / "pack" / name).read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", ["Sauerland", "../away", "a", "9lives", "two words", ""])
def test_a_name_that_cannot_be_a_region_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="a name of"):
        new_pack(name, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_a_new_pack_never_takes_the_place_of_another(tmp_path: Path) -> None:
    pack = Path(shutil.copytree(BERGISCH, tmp_path / "pack"))
    with pytest.raises(Refused, match="new or empty"):
        new_pack("sauerland", pack)
    assert (pack / "region.yml").read_bytes() == (BERGISCH / "region.yml").read_bytes()


# --- there and back ---


def test_a_pack_comes_out_as_it_went_in(tmp_path: Path, packed: Path) -> None:
    taken = import_pack(packed, None, tmp_path / "regions")
    assert taken.path == tmp_path / "regions" / "bergisch"
    assert taken.differs == ()
    assert taken.pack.fingerprint == load_region(Settings(region=str(BERGISCH))).fingerprint
    there = {p.relative_to(BERGISCH).as_posix(): p.read_bytes() for p in BERGISCH.rglob("*") if p.is_file()}
    here = {p.relative_to(taken.path).as_posix(): p.read_bytes() for p in taken.path.rglob("*") if p.is_file()}
    assert here == there
    again = export_pack(taken.pack, tmp_path / "again.zip")
    assert again.path.read_bytes() == packed.read_bytes()


def test_a_pack_with_contracts_and_lists_of_its_own_comes_out_with_them(tmp_path: Path) -> None:
    plain = project_root() / "tests" / "packs" / "plain"
    export_pack(load_region(Settings(region=str(plain))), tmp_path / "plain.zip")
    taken = import_pack(tmp_path / "plain.zip", tmp_path / "new", tmp_path)
    own = [contract for contract in taken.pack.contracts.values() if contract.path.is_relative_to(taken.path)]
    assert own


def test_the_manifest_names_every_file_with_its_sha256_and_every_contract_with_its_version(packed: Path) -> None:
    files = contents(packed)
    manifest = json.loads(files.pop(MANIFEST))
    assert manifest["format"] == FORMAT
    assert {name: said["sha256"] for name, said in manifest["files"].items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert manifest["contracts"].keys() == load_contracts(contracts_dir()).keys()
    assert all(said["version"] for said in manifest["contracts"].values())


def test_what_belongs_to_no_pack_stays_at_home_and_is_named(tmp_path: Path) -> None:
    pack = Path(shutil.copytree(BERGISCH, tmp_path / "pack"))
    (pack / ".env").write_text("VERBUND_DATABASE_URL=postgresql://u:secret@h/d")
    (pack / "ledger.sqlite").write_bytes(b"state")
    (pack / "dialects" / "old.yml.bak").write_text("draft")
    (pack / "sites.csv").rename(pack / "elsewhere.csv")
    (pack / "sites.csv").symlink_to(pack / "elsewhere.csv")
    exported = export_pack(load_region(Settings(region=str(pack))), tmp_path / "pack.zip")
    assert set(exported.left_out) == {".env", "ledger.sqlite", "dialects/old.yml.bak", "elsewhere.csv", "sites.csv"}
    assert b"secret" not in b"".join(contents(exported.path).values())


@pytest.mark.parametrize(
    "address", ["https://user:pw@host/x.csv", "https://host/x.csv?access_token=abc", "https://host/?sig=1"]
)
def test_an_address_with_a_password_is_not_exported_and_not_repeated(tmp_path: Path, address: str) -> None:
    pack = Path(shutil.copytree(BERGISCH, tmp_path / "pack"))
    text = (pack / "sources.yml").read_text(encoding="utf-8")
    (pack / "sources.yml").write_text(text.replace("http://127.0.0.1:8931/lastgang.csv", address), encoding="utf-8")
    with pytest.raises(Refused, match="solingen_load_profile") as caught:
        export_pack(load_region(Settings(region=str(pack))), tmp_path / "pack.zip")
    assert address not in str(caught.value)
    assert not (tmp_path / "pack.zip").exists()


def test_an_export_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "there.zip").write_bytes(b"mine")
    with pytest.raises(Refused, match="still free"):
        export_pack(load_region(Settings(region=str(BERGISCH))), tmp_path / "there.zip")
    assert (tmp_path / "there.zip").read_bytes() == b"mine"


# --- what is not taken in ---


def test_an_import_never_overwrites(tmp_path: Path, packed: Path) -> None:
    new_pack("sauerland", tmp_path / "pack")
    before = (tmp_path / "pack" / "region.yml").read_bytes()
    with pytest.raises(Refused, match="new or empty"):
        import_pack(packed, tmp_path / "pack", tmp_path)
    assert (tmp_path / "pack" / "region.yml").read_bytes() == before


@pytest.mark.parametrize(
    "name",
    ["../evil.yml", "/etc/evil.yml", "dialects/../../evil.yml", "dialects\\..\\evil.yml", "C:\\evil.yml", "evil.py",
     "dialects/sub/evil.yml", ".env", "dialects/", "contracts/evil.sh", "dialects/evil.yml\n", "region.yml\x00.py"],
)  # fmt: skip
def test_a_file_from_outside_a_packs_places_is_refused(tmp_path: Path, packed: Path, name: str) -> None:
    file = repacked({**contents(packed), name: b"id: evil"}, tmp_path / "evil.zip")
    target = tmp_path / "deep" / "regions"
    with pytest.raises((UnsafePack, Misconfigured)):
        import_pack(file, None, target)
    assert nothing_was_left(target)
    assert not list(tmp_path.rglob("evil.yml"))


def _changed(files: Files) -> Files:
    return {**files, "mandates.yml": files["mandates.yml"] + b"\n# later\n"}


def _dropped(files: Files) -> Files:
    return {name: content for name, content in files.items() if name != "sites.csv"}


def _added(files: Files) -> Files:
    return {**files, "dialects/more.yml": b"id: more"}


def _without_manifest(files: Files) -> Files:
    return {name: content for name, content in files.items() if name != MANIFEST}


def _other_format(files: Files) -> Files:
    return {**files, MANIFEST: files[MANIFEST].replace(FORMAT.encode(), b"verbund-region-pack/9")}


def _no_json(files: Files) -> Files:
    return {**files, MANIFEST: b"{" * 50_000}


def _other_region(files: Files) -> Files:
    return {**files, MANIFEST: files[MANIFEST].replace(b'"region": "bergisch"', b'"region": "../away"')}


@pytest.mark.parametrize(
    "change", [_changed, _dropped, _added, _without_manifest, _other_format, _no_json, _other_region]
)
def test_a_pack_that_differs_from_its_manifest_is_refused(
    tmp_path: Path, packed: Path, change: Callable[[Files], Files]
) -> None:
    file = tmp_path / "changed.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in change(contents(packed)).items():
            archive.writestr(name, content)
    with pytest.raises(UnsafePack):
        import_pack(file, None, tmp_path / "regions")
    assert nothing_was_left(tmp_path / "regions")


def test_a_pack_of_another_region_than_its_manifest_says_is_refused(tmp_path: Path, packed: Path) -> None:
    files = contents(packed)
    files["region.yml"] = files["region.yml"].replace(b"id: bergisch", b"id: elsewhere")
    with pytest.raises(UnsafePack, match="elsewhere"):
        import_pack(repacked(files, tmp_path / "pack.zip"), None, tmp_path / "regions")
    assert nothing_was_left(tmp_path / "regions")


def test_a_broken_pack_is_refused_with_every_mistake_by_file_and_line(tmp_path: Path, packed: Path) -> None:
    files = contents(packed)
    files["mandates.yml"] = files["mandates.yml"].replace(b"abfallbilanz-csv", b"abfallbilanz-tsv")
    file = repacked(files, tmp_path / "pack.zip")
    line = files["mandates.yml"].decode().splitlines().index(
        next(text for text in files["mandates.yml"].decode().splitlines() if "abfallbilanz-tsv" in text)
    ) + 1  # fmt: skip
    with pytest.raises(Misconfigured) as caught:
        import_pack(file, None, tmp_path / "regions")
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == (file / "mandates.yml", line)
    assert nothing_was_left(tmp_path / "regions")


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path, packed: Path) -> None:
    file = repacked({**contents(packed), "dialects/bomb.yml": b" " * (11 * 1024**2)}, tmp_path / "bomb.zip")
    assert file.stat().st_size < 200_000
    with pytest.raises(UnsafePack, match="MiB"):
        import_pack(file, None, tmp_path / "regions")


def test_a_file_that_lies_about_its_size_is_refused(tmp_path: Path, packed: Path) -> None:
    file = repacked({**contents(packed), "dialects/bomb.yml": b"#" * 3_000_000}, tmp_path / "bomb.zip")
    raw = file.read_bytes()
    true_size, said = (3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert raw.count(true_size) >= 2
    file.write_bytes(raw.replace(true_size, said))
    with pytest.raises(UnsafePack):
        import_pack(file, None, tmp_path / "regions")
    assert nothing_was_left(tmp_path / "regions")


def test_links_doubled_names_and_passwords_are_refused(tmp_path: Path, packed: Path) -> None:
    link = zipfile.ZipInfo("dialects/link.yml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    doubled = zipfile.ZipInfo("Region.yml".lower())
    locked = zipfile.ZipInfo("dialects/locked.yml")
    for entry, word in ((link, "link"), (doubled, "once"), (locked, "password")):
        buffer = io.BytesIO(packed.read_bytes())
        with zipfile.ZipFile(buffer, "a") as archive, pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)
            archive.writestr(entry, b"/etc/passwd")
        raw = bytearray(buffer.getvalue())
        if entry is locked:
            # bit 0 of the flags in the central directory says: encrypted
            raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
        (tmp_path / f"{word}.zip").write_bytes(raw)
        with pytest.raises(UnsafePack, match=word):
            import_pack(tmp_path / f"{word}.zip", None, tmp_path / "regions")


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>no</html>", b"PK\x05\x06" + b"\x00" * 18])
def test_what_is_no_pack_is_refused_with_a_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.zip").write_bytes(content)
    with pytest.raises(UnsafePack, match="expected"):
        import_pack(tmp_path / "file.zip", None, tmp_path / "regions")


HOSTILE = {
    "aliases of aliases": "\n".join(
        ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    ),
    "deep nesting": "[" * 1_000_000,
    "an object to build": "suppliers: !!python/object/apply:os.system ['true']",
    "not text": "\x00\x01",
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("name", ["suppliers.yml", "contracts/evil.odcs.yml"])
def test_hostile_yaml_ends_in_a_refusal_and_leaves_nothing(tmp_path: Path, packed: Path, case: str, name: str) -> None:
    file = repacked({**contents(packed), name: HOSTILE[case].encode()}, tmp_path / "pack.zip")
    with pytest.raises((UnsafePack, Misconfigured)):
        import_pack(file, None, tmp_path / "regions")
    assert nothing_was_left(tmp_path / "regions")


def test_another_version_of_a_contract_is_told(tmp_path: Path, packed: Path) -> None:
    files = contents(packed)
    manifest = json.loads(files[MANIFEST])
    manifest["contracts"]["waste_balance"]["version"] = "0.9.0"
    files[MANIFEST] = json.dumps(manifest).encode()
    taken = import_pack(repacked(files, tmp_path / "pack.zip"), None, tmp_path / "regions")
    (told,) = [difference for difference in taken.differs if difference.startswith("waste_balance:")]
    assert told.startswith("waste_balance: 0.9.0 there")
