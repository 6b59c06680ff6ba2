"""The manifest of a run: environment, effective configuration, plan, coverage, declarations, method.

It is written before the first measurement (so that a stopped run is a run) and again at the end.
The trap: coverage compares what was planned with what has a result, so a trial that vanished shows
up as not run instead of as silence.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.discovery import Discovered
from harness.errors import RunError
from harness.outcome import trial_status
from harness.plan import Plan
from harness.results import SCHEMA, Result
from harness.run import MANIFEST
from harness.standard import row_oracle
from harness.suite import Suite

METHOD = (
    "Inputs are a pure function of seed, suite, variant, regime, dtype, batch, classes and repeat, drawn in "
    "float64 and rounded once; implementation and oracle see the same stored numbers.",
    "Truth comes from float64 closed forms without autograd and without cancellation, reduced exactly "
    "(correctly rounded sums); relative error of a row at most (C + 749) 2^-53. For float64 trials that is "
    "the trial's own precision, so the oracle's error is added to their bound.",
    "Strict rule: |y^ - y| <= 2 ulp(y) + (4 + log2 C) u_a N for the loss and every gradient entry, with "
    "2 + log2 rows more for a reduced loss; u_a = 2^-24 for 16-bit dtypes. Broken is a finding; it is an "
    "error when also |y^ - y| > s (4 + log2 C) u max(1, |y|), s = 8 for 32 and 64 bit, 1 for 16 bit, else "
    "a warning.",
    "N is shift-normalised: differences to the row's other logits, not the logits, multiply u. The distances "
    "of gradient entries are bounded from above (Jensen, triangle inequality), which cannot accuse falsely.",
    "Errors are the largest found on the inputs listed, a lower bound of the worst case, not an upper one.",
    "Answers are judged under an upstream gradient of 2 (1/2, 1 and 2 by row without reduction); inputs are "
    "contiguous and their bits are compared afterwards. Strided, offset and transposed inputs are not asked.",
    "A ladder's number is the first failing value met on the way up, bisected; lower rungs were right.",
    "Peak bytes are allocator events above the resident inputs, the same on every run on the CPU.",
    "Times are medians of interleaved blocks on fresh clones; the interval is Student's t over fresh "
    "processes; ratios are formed round by round. A wrong answer is timed but never recommended.",
)


def suite_forms(suites: Mapping[str, Suite]) -> dict[str, Any]:
    """Returns what reports need of the declarations, as JSON."""
    return {
        name: {
            "formula": suite.formula,
            "oracle": row_oracle(suite).label,
            "options": {option: repr(value) for option, value in suite.options.items()},
            "variants": {v.name: _options_text(v.options) for v in suite.variants},
            "regimes": {r.name: r.about for r in suite.regimes},
            "ladders": {ladder.name: ladder.names for ladder in suite.ladders},
            "implementations": {
                item.name: {
                    "about": item.about,
                    "baseline": item is suite.baseline,
                    "control": item.control,
                    "known_bad": item.known_bad,
                    "compiled": item.compiled,
                    "known": [
                        {"kind": entry.kind, "reason": entry.reason, "upstream": entry.upstream}
                        for entry in item.known
                    ],
                }
                for item in suite.implementations
            },
        }
        for name, suite in suites.items()
    }


def _options_text(options: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{key}={getattr(value, '__name__', repr(value))}" for key, value in options.items())
        or "every option neutral"
    )


def manifest_form(
    plan: Plan,
    discovered: Discovered,
    *,
    name: str,
    version: str,
    command: str,
    profile: str,
    seed: int,
    environment: Mapping[str, Any],
    config: Mapping[str, Any],
    suites: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the manifest of a run that begins now."""
    return {
        "schema": SCHEMA,
        "name": name,
        "lossgauge": version,
        "command": command,
        "profile": profile,
        "seed": seed,
        "started": environment["context"]["started"],
        "finished": None,
        "wall_seconds": None,
        "environment": environment,
        "config": config,
        "plan": {"hash": plan.hash, "blocks": [block.to_json() for block in plan.blocks]},
        "coverage": {"expected": plan.expected},
        "skipped_axes": [{"axis": a.axis, "value": a.value, "reason": a.reason} for a in plan.absent],
        "left_out": list(plan.left_out),
        "broken_suites": list(discovered.broken),
        "suites": suites,
        "copy_bandwidth_bytes_per_second": None,
        "stale_known": [],
        "method": list(METHOD),
    }


def coverage(plan: Plan, results: Iterable[Result]) -> dict[str, int]:
    """Returns expected trials and how many have which status; a trial without any result is not_run."""
    by_trial: dict[str, list[Result]] = {}
    for result in results:
        by_trial.setdefault(result.trial.id, []).append(result)
    counted = Counter(trial_status(found) for found in by_trial.values())
    planned = {f"{b.case.id}/{name}" for b in plan.blocks for name in b.probes}
    planned |= {refusal.trial.id for refusal in plan.refusals}
    counted["not_run"] += len(planned - by_trial.keys())
    return {"expected": plan.expected, **{status: count for status, count in counted.items() if count}}


def write_manifest(folder: Path, form: Mapping[str, Any]) -> None:
    """Writes the manifest so that a reader never sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    scratch = path.with_suffix(".json.new")
    scratch.write_text(json.dumps(form, allow_nan=False, indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def stored_manifest(folder: Path) -> dict[str, Any] | None:
    """Returns the manifest of an earlier attempt, None when there is none; raises RunError if damaged."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        form: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(f"{path}: not JSON ({error.msg}); measure again with --fresh.") from None
    return form


def refuse_other_machine(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises RunError with the difference when a run is continued on another machine or torch."""
    old, new = before["environment"]["identity"], now["identity"]
    changed = [
        f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise RunError(
            f"{folder}: was measured elsewhere: {'; '.join(changed)}; use --fresh to measure again, "
            "another --out, or --allow-different to mix."
        )
