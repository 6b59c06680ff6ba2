"""What the harness itself costs, against its targets: run by `nox -s selfbench`.

Six figures: CPU seconds of --help; seconds per trial with an implementation that does nothing, and
whether they stay the same over ten times as many; where the wall time of a quick sweep goes; the report
of 24,000 trials; the oracle beside native forward and backward. Ratios are taken in one process,
interleaved, since the machine may be shared. The trap: a target is a statement, not a test, so this
prints met or missed and always exits 0.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

NO_OP_SUITE = """
import torch
from harness import Implementation, Regime, Sample, Suite


def rows(x, t, reduction="none"):
    return x[:, 0] * 1.0


def unit(shape, finfo, generator):
    x = torch.randn(shape.batch, shape.classes, generator=generator, dtype=torch.float64)
    return Sample(x=x, t=torch.zeros(shape.batch, dtype=torch.long))


def no_op(x, t):
    return x[:, 0].mean()


SUITE = Suite(
    name="no_op",
    oracle=rows,
    regimes=tuple(Regime(unit, name=f"unit{k}") for k in range(REGIMES)),
    implementations=tuple(Implementation(no_op, name=f"no_op{k}") for k in range(10)),
)
"""


@click.command()
@click.option(
    "--quick-run", type=click.Path(path_type=Path), help="Use this finished quick run for the shares."
)
@click.option(
    "--only", multiple=True, help="Only these figures: help, overhead, growth, oracle, report, shares."
)
def main(quick_run: Path | None, only: tuple[str, ...]) -> None:
    """Prints the six figures with their targets."""
    figures: dict[str, Callable[[], None]] = {
        "help": help_seconds,
        "overhead": overhead_per_trial,
        "growth": growth,
        "oracle": oracle_ratio,
        "report": large_report,
        "shares": lambda: sweep_shares(quick_run),
    }
    for name, figure in figures.items():
        if not only or name in only:
            figure()


def stated(what: str, value: float, unit: str, target: float) -> None:
    """Prints a figure beside its target."""
    verdict = "met" if value <= target else "MISSED"
    click.echo(f"{what}: {value:.3g} {unit} (target {target:g} {unit}: {verdict})")


def help_seconds() -> None:
    """Prints the CPU seconds of `lossgauge --help`, median of 9 processes."""
    command = [sys.executable, "-P", "-c", "from harness.cli import entry; entry()", "--help"]
    seconds = []
    for _ in range(9):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    stated("--help, CPU", statistics.median(seconds), "s", 0.15)


def _run(arguments: list[str], folder: Path) -> dict[str, Any]:
    """Runs `lossgauge run` into a folder and returns its manifest."""
    command = [
        sys.executable,
        "-P",
        "-c",
        "from harness.cli import entry; entry()",
        "-q",
        "run",
        "--out",
        str(folder),
    ]
    subprocess.run([*command, *arguments], check=True, capture_output=True, cwd=folder.parent)
    form: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return form


def _no_op_run(regimes: int, folder: Path) -> dict[str, Any]:
    """Returns the manifest of ten no-op implementations over so many regimes: accuracy only, one worker."""
    suite = folder / f"no_op_suite_{regimes}.py"
    suite.write_text(NO_OP_SUITE.replace("REGIMES", str(regimes)), encoding="utf-8")
    arguments = ["--suite", str(suite), "--probe", "accuracy", "--dtype", "float32", "--workers", "1"]
    arguments += ["--no-report", "-f", "batch=64 classes=10", "--device", "cpu"]
    return _run(arguments, folder / f"run_{regimes}")


def overhead_per_trial() -> None:
    """Prints the seconds per trial of 1000 trials of a no-op, accuracy only, one worker, start excluded."""
    with tempfile.TemporaryDirectory() as scratch:
        form = _no_op_run(100, Path(scratch))
    trials = form["coverage"]["ok"]
    spent = form["spent_seconds"]["answers"]
    start = spent.get("import", 0.0)
    each = (spent["worker_lifetime"] - start) / trials
    inside, oracle = (1e3 * spent[purpose] / trials for purpose in ("implementation", "oracle"))
    click.echo(
        f"overhead: {trials} no-op trials; implementation {inside:.3g} ms, oracle {oracle:.3g} ms each"
    )
    stated("overhead per trial, oracle, judging, transport and journal", 1e3 * each, "ms", 2.0)


def growth() -> None:
    """Prints the wall time per trial of 10,000 no-op trials in that of 1,000, driver included."""
    with tempfile.TemporaryDirectory() as scratch:
        each = {}
        for regimes in (100, 1000):
            form = _no_op_run(regimes, Path(scratch))
            start = form["spent_seconds"]["answers"].get("import", 0.0)
            trials = form["coverage"]["ok"]
            each[trials] = 1e3 * (form["wall_seconds"] - start) / trials
    words = ", ".join(
        f"{trials:,} trials {milliseconds:.3g} ms each" for trials, milliseconds in each.items()
    )
    click.echo(f"growth: {words}")
    few, many = each.values()
    stated("cost per trial as trials grow tenfold", many / few, "x", 1.1)


def shares_of(form: Mapping[str, Any]) -> dict[str, float]:
    """Returns the share of the wall time of a run by purpose; what is left over is `overhead`.

    Workers run side by side, so a phase's wall time is divided as its workers' lifetimes are.
    """
    shares: dict[str, float] = {}
    wall = form["wall_seconds"]
    for spent in form["spent_seconds"].values():
        lifetime = spent.get("worker_lifetime", 0.0)
        if not lifetime:
            continue
        for purpose in ("implementation", "compiler", "oracle", "import"):
            part = spent.get(purpose, 0.0) / lifetime * spent["wall"] / wall
            shares[purpose] = shares.get(purpose, 0.0) + part
    shares["overhead"] = 1.0 - sum(shares.values())
    return shares


def sweep_shares(quick_run: Path | None) -> None:
    """Prints where the wall time of a quick sweep goes."""
    if quick_run is not None:
        form = json.loads((quick_run / "manifest.json").read_text(encoding="utf-8"))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            form = _run(["--suite", "cross_entropy"], Path(scratch) / "run")
    shares = shares_of(form)
    listed = ", ".join(f"{purpose} {share:.1%}" for purpose, share in shares.items())
    click.echo(
        f"quick sweep: {form['wall_seconds']:.0f} s wall, {form['coverage']['expected']} trials; {listed}"
    )
    stated("overhead share of the quick sweep", 100 * shares["overhead"], "%", 25)


def large_report() -> None:
    """Prints the CPU seconds and size of the report of 24,000 trials, copied from a small real run."""
    from dataclasses import replace

    from harness.run import Run, load_run
    from harness.trial import Trial
    from reports.report import write_report

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        arguments = [
            "--suite",
            "cross_entropy",
            "--dtype",
            "float32,float16",
            "--processes",
            "1",
            "--rounds",
            "2",
            "--no-report",
            "-k",
            "not compiled",
        ]
        _run(arguments, folder)
        small = load_run(folder)
        results: list[Any] = []
        copies = trials = 0
        per_copy = len({result.trial.id for result in small.results})
        while trials < 24_000:
            for result in small.results:
                case = replace(result.trial.case, batch=result.trial.case.batch + 1000 * copies)
                results.append(replace(result, trial=Trial(case, result.trial.implementation)))
            copies, trials = copies + 1, trials + per_copy
        manifest = {**small.manifest, "plan": {"hash": "selfbench", "blocks": []}}
        large = Run(folder, manifest, tuple(results))
        start = time.process_time()
        page = write_report(large)
        seconds = time.process_time() - start
        size = page.stat().st_size / 1e6
    click.echo(f"report: {trials} trials, {len(results)} results")
    stated("report, CPU", seconds, "s", 3.0)
    stated("report, size", size, "MB", 3.0)


def oracle_ratio() -> None:
    """Prints the oracle's time at 1024 x 32000 over native float32 forward and backward, one thread."""
    from harness.environment import worker_environment

    environment = worker_environment(1)
    for tiers in ("B0", "B0 B1"):
        command = f"from harness.cli.selfbench import oracle_worker; oracle_worker({tiers!r})"
        subprocess.run([sys.executable, "-P", "-c", command], check=True, env=environment)


# Ratios to native float32 forward and backward, by what is asked of the oracle.
ORACLE_TARGETS = {"B0 value and gradient": 2.0, "B0 with sensitivities": 5.0, "B1 value and gradient": 12.0}


def oracle_worker(tiers: str, rounds: int = 9) -> None:
    """Runs in a process with the workers' allocator settings; interleaves all contenders, prints ratios.

    A rotation without B1 comes first: what B1 leaves in the caches is paid by whoever runs next. Times are
    CPU seconds of the process, ratios are taken within a round, and a target is met by the median alone;
    the quartiles say how far that carries.
    """
    import torch
    import torch.nn.functional as F

    from suites.cross_entropy import SUITE
    from suites.oracles.cross_entropy import ORACLE

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1024, 32000, generator=generator)
    target = torch.randint(0, 32000, (1024,), generator=generator)
    options, inputs = dict(SUITE.options), {"logits": logits, "target": target}

    def native() -> None:
        leaf = logits.detach().requires_grad_(True)
        F.cross_entropy(leaf, target).backward()

    contenders: dict[str, Callable[[], object]] = {
        "native": native,
        "B0 value and gradient": lambda: ORACLE.evaluate(inputs, options, ("logits",), sensitivities=False),
        "B0 with sensitivities": lambda: ORACLE.evaluate(inputs, options, ("logits",)),
    }
    if "B1" in tiers:
        contenders["B1 value and gradient"] = lambda: ORACLE.evaluate(
            inputs, options, ("logits",), sensitivities=False, tier="B1"
        )
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    base = seconds.pop("native")[1:]
    click.echo(
        f"oracle at 1024 x 32000, rotation of native, {', '.join(seconds)}: native float32 "
        f"forward+backward {statistics.median(base):.3f} CPU s"
    )
    for name, spent in seconds.items():
        ratios = [own / other for own, other in zip(spent[1:], base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        stated(f"oracle {name} (quartiles {low:.2f}-{high:.2f})", middle, "x native", ORACLE_TARGETS[name])


if __name__ == "__main__":
    main()
