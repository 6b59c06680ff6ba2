"""A run directory read back: manifest, the newest attempt per (trial, probe), timed samples.

Nothing is ever unpickled; every file is JSON or JSON lines. A torn last line (the machine went
down while it was written) is dropped and counted; a damaged line elsewhere is a RunError. The
trap: `results.jsonl` is append-only, so the newest attempt wins, not the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import RunError
from harness.results import SCHEMA, Result

MANIFEST, RESULTS, SAMPLES = "manifest.json", "results.jsonl", "samples.jsonl"


@dataclass(frozen=True)
class Run:
    """All results of a run and the environment they were measured in."""

    path: Path
    manifest: Mapping[str, Any]
    results: tuple[Result, ...]
    torn_lines: int = 0

    def samples(self) -> Iterator[dict[str, Any]]:
        """Yields every timed block that was stored."""
        path = self.path / SAMPLES
        if path.exists():
            yield from (line for line in json_lines(path)[0] if "trial" in line)


def json_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the objects of a JSON-lines file and how many torn last lines were dropped (0 or 1).

    Raises RunError that names the line for damage anywhere else.
    """
    *lines, last = path.read_bytes().split(b"\n")
    forms: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            forms.append(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RunError(
                f"{path}: line {number} is not JSON ({error.args[0]}); remove the line or measure again "
                "with --fresh."
            ) from None
    # A line counts only with its newline: without one the write was cut off, however it looks.
    return forms, int(bool(last))


def read_results(path: Path) -> tuple[list[Result], int]:
    """Returns the stored results in order and the number of torn lines dropped."""
    forms, torn = json_lines(path)
    results: list[Result] = []
    for number, form in enumerate(forms, start=1):
        try:
            results.append(Result.from_json(form))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}: result {number} lacks or garbles {error}; remove the line or measure again "
                "with --fresh."
            ) from None
    return results, torn


def newest(results: list[Result]) -> tuple[Result, ...]:
    """Returns the newest attempt per (trial, probe), in the order of first appearance."""
    by_question: dict[tuple[str, str], Result] = {}
    for result in results:
        by_question[result.trial.id, result.probe] = result
    return tuple(by_question.values())


def read_manifest(path: Path) -> dict[str, Any]:
    """Returns the object in a manifest file; raises RunError for anything else."""
    mend = f"restore it, or remove it and give the run's command again, which keeps {RESULTS}"
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(f"{path}: not JSON ({error.msg} at line {error.lineno}); {mend}.") from None
    except UnicodeDecodeError:
        raise RunError(f"{path}: is not text; {mend}.") from None
    if not isinstance(form, dict):
        raise RunError(f"{path}: holds a {type(form).__name__} and no manifest; {mend}.")
    schema = form.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise RunError(
            f"{path}: was written by lossgauge {form.get('lossgauge', 'of another version')} in schema "
            f"{schema}, this one reads {SCHEMA}; read it with that version."
        )
    return form


def load_run(path: Path) -> Run:
    """Reads a run directory; raises RunError with the next step when it is missing or damaged."""
    manifest_path = path / MANIFEST
    if not manifest_path.exists():
        raise RunError(
            f"{path}: no {MANIFEST} there, so this is not a run directory; `lossgauge list runs` "
            "shows the runs, `lossgauge run` makes one."
        )
    manifest = read_manifest(manifest_path)
    results_path = path / RESULTS
    results, torn = read_results(results_path) if results_path.exists() else ([], 0)
    return Run(path, manifest, newest(results), torn)
