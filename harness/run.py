"""A run directory read back: manifest, the newest attempt per (trial, probe), timed samples.

Nothing is ever unpickled; every file is JSON or JSON lines. A torn last line (the machine went
down while it was written) is dropped and counted; a damaged line elsewhere is a RunError, and so is a value
of another type than its key has (`harness.stored`). A key may lack, as older runs do; who cannot do without
it asks `stated`. The trap: `results.jsonl` is append-only, so the newest attempt wins, not the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import stored
from harness.errors import RunError
from harness.results import SCHEMA, Finding, Result

MANIFEST, RESULTS, SAMPLES = "manifest.json", "results.jsonl", "samples.jsonl"
_MEND = f"restore it, or remove it and give the run's command again, which keeps {RESULTS}"
_REMOVE = "remove the line or measure again with --fresh"
# What a line of a timed block cannot do without.
_TIMED = ("trial", "process", "round", "pass", "loops", "wall_seconds")
# What a line that a process has finished a case cannot do without.
_COMPLETE = ("process", "key", "stopped", "failed", "findings")


@dataclass(frozen=True)
class Run:
    """All results of a run and the environment they were measured in."""

    path: Path
    manifest: Mapping[str, Any]
    results: tuple[Result, ...]
    torn_lines: int = 0

    def samples(self) -> Iterator[dict[str, Any]]:
        """Yields every timed block that was stored; raises RunError for a damaged line."""
        path = self.path / SAMPLES
        if path.exists():
            yield from (line for line in read_samples(path)[0] if "trial" in line)

    def stated(self, *keys: str) -> Any:
        """Returns what the manifest states under a path of keys; raises RunError where it does not."""
        return stated(self.path / MANIFEST, self.manifest, *keys)


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
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path}: line {number} is not JSON ({error.args[0]}); {_REMOVE}.") from None
    # A line counts only with its newline: without one the write was cut off, however it looks.
    return forms, int(bool(last))


def read_results(path: Path) -> tuple[list[Result], int]:
    """Returns the stored results in order and the number of torn lines dropped."""
    forms, torn = json_lines(path)
    results: list[Result] = []
    for number, form in enumerate(forms, start=1):
        if damage := stored.damage(form, stored.RESULT):
            raise RunError(f"{path}: result {number} lacks or garbles {damage}; {_REMOVE}.")
        try:
            results.append(Result.from_json(form))
        except (KeyError, ValueError) as error:
            raise RunError(f"{path}: result {number} lacks or garbles {error}; {_REMOVE}.") from None
    return results, torn


def read_samples(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the stored lines of the timing phase in order and the number of torn lines dropped.

    A line is a timed block ("trial") or says that a process has finished a case ("complete"); raises
    RunError for any other.
    """
    forms, torn = json_lines(path)
    for number, form in enumerate(forms, start=1):
        damage = stored.damage(form, stored.SAMPLE)
        if not damage:
            damage = next((repr(key) for key in _needed(form) if key not in form), "")
        if damage:
            raise RunError(f"{path}: line {number} lacks or garbles {damage}; {_REMOVE}.")
        try:
            for found in (form for each in form.get("findings", {}).values() for form in each):
                Finding.from_json(found)
        except (KeyError, ValueError) as error:
            raise RunError(f"{path}: line {number} lacks or garbles {error}; {_REMOVE}.") from None
    return forms, torn


def _needed(form: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the keys that a line of the timing phase needs."""
    return _COMPLETE if "complete" in form else _TIMED


def newest(results: list[Result]) -> tuple[Result, ...]:
    """Returns the newest attempt per (trial, probe), in the order of first appearance."""
    by_question: dict[tuple[str, str], Result] = {}
    for result in results:
        by_question[result.trial.id, result.probe] = result
    return tuple(by_question.values())


def read_manifest(path: Path) -> dict[str, Any]:
    """Returns the object in a manifest file; raises RunError for anything else."""
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(f"{path}: not JSON ({error.msg} at line {error.lineno}); {_MEND}.") from None
    except UnicodeDecodeError:
        raise RunError(f"{path}: is not text; {_MEND}.") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of brackets.
        raise RunError(f"{path}: not JSON ({error.args[0]}); {_MEND}.") from None
    if not isinstance(form, dict):
        raise RunError(f"{path}: holds a {type(form).__name__} and no manifest; {_MEND}.")
    schema = form.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise RunError(
            f"{path}: was written by lossgauge {form.get('lossgauge', 'of another version')} in schema "
            f"{schema}, this one reads {SCHEMA}; read it with that version."
        )
    if damage := stored.damage(form, stored.MANIFEST):
        raise RunError(f"{path}: garbles {damage}; {_MEND}.")
    return form


def stated(path: Path, manifest: Mapping[str, Any], *keys: str, within: str = "") -> Any:
    """Returns what the manifest at `path` states under a path of keys; raises RunError where it does not.

    `within` names the part that is handed over instead of the whole manifest.
    """
    found: Any = manifest
    for place, key in enumerate(keys, start=1):
        if key not in found:
            raise RunError(f"{path}: lacks '{within}{'.'.join(keys[:place])}'; {_MEND}.")
        found = found[key]
    return found


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
