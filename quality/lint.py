"""Linting contracts: against the ODCS schema with the standard's own tool, and against what Verbund needs beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quality.contract import load_contract
from quality.desk import contracts_dir
from quality.sources import Misconfigured
from storage.settings import Settings


@dataclass(frozen=True)
class Linted:
    """What was found in one contract; `problems` is empty where it is clean."""

    contract: str
    file: Path
    problems: tuple[str, ...]


def lint_contracts(settings: Settings) -> list[Linted]:
    """Lint the contracts every region shares and those of the region pack."""
    folders = [contracts_dir(), settings.region_dir / "contracts"]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.odcs.yml"))]
    return [lint(file) for file in files]


def lint(file: Path) -> Linted:
    """Lint one contract."""
    from datacontract.data_contract import DataContract

    run = DataContract(data_contract_file=str(file)).lint()
    problems = [
        f"{check.name}: {check.reason}"
        for check in run.checks or []
        if str(check.result) not in ("passed", "ResultEnum.passed")
    ]
    try:
        load_contract(file)
    except Misconfigured as error:
        problems += [str(problem) for problem in error.problems]
    return Linted(file.name.removesuffix(".odcs.yml"), file, tuple(problems))
