"""`python -P -m suites.third_party`: asks every adapter whose package is there and prints what was found.

One line per kind of finding with its count and its first message; a package that is absent is one sentence.
Exit code 0 whatever was found; 3 where a run stayed incomplete, 2 where an adapter is broken. The trap: each
sweep is a process of its own, because an adapter may set what Triton or the compiler reads at import.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from harness.errors import SuiteError
from harness.plan import PROBES
from harness.results import Finding, Severity
from harness.run import load_run
from suites.third_party import ADAPTERS, AbsentError, loaded

Kind = tuple[str, Severity, str, str]
# Asked is whether a package is right; what it costs is asked beside a family's own forms, by `lossgauge run`.
COSTS = ("compilation", "memory", "timing")


@click.command()
@click.argument("packages", nargs=-1)
@click.option("--out", default="runs/third_party", show_default=True, help="Folder of the run directories.")
@click.option("--seed", default=0, show_default=True, help="Seed of all inputs.")
@click.option("--workers", default=0, help="Parallel workers (default: cores).")
def main(packages: tuple[str, ...], out: str, seed: int, workers: int) -> None:
    """Sweeps the adapters of PACKAGES (default: all) and prints their findings."""
    known = [adapter.package for adapter in ADAPTERS]
    for name in packages:
        if name not in known:
            raise click.UsageError(f"there is no adapter for {name!r}; there are: {', '.join(known)}.")
    worst = 0
    for adapter in ADAPTERS:
        if packages and adapter.package not in packages:
            continue
        for reference in adapter.suites:
            worst = max(worst, _asked(adapter.package, reference, Path(out), seed, workers))
    sys.exit(worst)


def _asked(package: str, reference: str, out: Path, seed: int, workers: int) -> int:
    """Sweeps one suite and prints its findings; returns the exit code of the sweep."""
    try:
        loaded(reference)
    except AbsentError as absent:
        click.echo(f"{reference}: skipped, {absent}")
        return 0
    except SuiteError as broken:
        click.echo(f"{reference}: {broken}")
        return 2
    folder = out / reference.rpartition(".")[2].replace(":", "_").lower()
    program = "from harness.cli import entry; entry()"
    command = [sys.executable, "-P", "-c", program, "--quiet", "run", "--suite", reference]
    command += ["--out", str(folder), "--seed", str(seed), "--fresh", "--timeout", "120s"]
    command += ["--probe", ",".join(probe for probe in PROBES if probe not in COSTS)]
    command += ["--workers", str(workers)] if workers else []
    code = subprocess.run(command, check=False).returncode
    if code in (0, 3):
        for line in _lines(package, folder):
            click.echo(line)
    return code


def _lines(package: str, folder: Path) -> Iterator[str]:
    from importlib.metadata import version

    counts: dict[Kind, int] = {}
    first: dict[Kind, str] = {}
    known: dict[str, int] = {}
    trials = 0
    for result in load_run(folder).results:
        trials += result.status == "ok"
        for finding in result.findings:
            if finding.known:
                known[finding.known] = known.get(finding.known, 0) + 1
            elif finding.severity != "note":
                met: Kind = (result.trial.implementation, finding.severity, finding.kind, _where(finding))
                counts[met] = counts.get(met, 0) + 1
                first.setdefault(met, f"{result.trial.id}: {finding.message}")
    new = sum(counts.values())
    told = f"{trials} answers, {new} findings, {sum(known.values())} known"
    yield f"{package} {version(package)}: {told}; {folder}"
    for kind in sorted(counts, key=lambda kind: (kind[1], -counts[kind])):
        implementation, level, name, where = kind
        yield f"  {counts[kind]:>4} x {level} {name}, {where} ({implementation})"
        yield f"         {first[kind]}"
    for reason, count in known.items():
        yield f"  {count:>4} x known: {reason}"


def _where(finding: Finding) -> str:
    return f"{finding.probe}: {finding.group}"


if __name__ == "__main__":
    main()
