"""Linting contracts: against the ODCS schema with the standard's own tool, and against what Verbund needs beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quality import heartbeat, messages
from quality.configuration import contracts_dir
from quality.contract import Contract, load_contract
from quality.sources import Misconfigured, Problem, line_of, load_yaml
from storage.settings import Settings


@dataclass(frozen=True)
class Linted:
    """What was found in one contract; `problems` is empty where it is clean."""

    contract: str
    file: Path
    problems: tuple[str, ...]


def lint_contracts(settings: Settings) -> list[Linted]:
    """Lint the contracts every region shares, those of the region pack, and the platform's own."""
    folders = [contracts_dir(), settings.region_dir / "contracts"]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.odcs.yml"))]
    files.append(heartbeat.CONTRACT)
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
        problems += [str(problem) for problem in _untold(load_contract(file))]
    except Misconfigured as error:
        problems += [str(problem) for problem in error.problems]
    return Linted(file.name.removesuffix(".odcs.yml"), file, tuple(problems))


def _untold(contract: Contract) -> Iterator[Problem]:
    """Rules whose reason, or whose own remedy, a supplier could not read in every language."""
    data = load_yaml(contract.path)
    for place, rule in enumerate(contract.rules):
        told = {"because": rule.because, **({"remedy": rule.remedy} if rule.remedy else {})}
        for name, texts in told.items():
            missing = [language for language in messages.LANGUAGES if not str(texts.get(language, "")).strip()]
            if missing:
                line = line_of(data, ["schema", 0, "quality", place])
                wanted = f"a custom property `{name}` with de and en in rule {rule.id}: suppliers read it"
                yield Problem(contract.path, line, wanted, f"none in {' and '.join(missing)}")
