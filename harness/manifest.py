"""The manifest of a run: environment, effective configuration, plan, coverage, declarations, method.

It is written before the first measurement (so that a stopped run is a run) and again at the end.
The trap: coverage compares what was planned with what has a result, so a trial that vanished shows
up as not run instead of as silence.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.discovery import Discovered
from harness.errors import RunError, writing
from harness.oracle.closed_form import FLOOR, ClosedForm
from harness.oracle.truth import RowOracle, Tier
from harness.outcome import trial_status
from harness.plan import Plan
from harness.probes.protocol.probe import QUESTIONS
from harness.results import SCHEMA, Result
from harness.run import MANIFEST, read_manifest, stated
from harness.standard import row_oracle
from harness.suite import Suite
from harness.trial import DTYPES

METHOD = (
    "Inputs are a pure function of seed, suite, variant, regime, dtype, batch, classes and repeat, drawn in "
    "float64 and rounded once; implementation and oracle see the same stored numbers.",
    "Truth comes from closed forms without autograd and without cancellation, reduced exactly (correctly "
    "rounded sums): in float64 (tier B0), in pairs of float64 for float64 trials (B1) where the suite has "
    "them. The oracle's own bound, stated per tier below, is added to what is allowed, so it accuses nobody.",
    "The truth of every finding above a note is enclosed by Arb (B2): a ball that holds the exact value, or "
    "the stated bound of its tier where a sum is too long; a suite without an exact form is uncertified.",
    "Exact values are extended reals: a value that overflows the dtype rounds to infinity and is right so, "
    "0 times anything counts 0 where the contract says the term is left out, and what has no limit is "
    "undefined, where only NaN is right.",
    "Strict rule: |y^ - y| <= 2 ulp(y) + (4 + log2 C) u_a N for the loss and every gradient entry, with "
    "2 + log2 rows more for a reduced loss, and rows / 128 besides for a gradient that a matrix product sums "
    "over the rows (rows / 16 more where several threads are held against one); u_a = 2^-24 for 16-bit "
    "dtypes. Broken is a finding; it is an error when also "
    "|y^ - y| > s (4 + log2 C) u max(1, |y|), s = 8 for 32 and 64 bit, 1 for 16 bit, else a warning.",
    "N is shift-normalised: differences to the row's other logits, not the logits, multiply u. The distances "
    "of gradient entries are bounded from above (Jensen, triangle inequality), which cannot accuse falsely.",
    "Errors are the largest found on the inputs listed, a lower bound of the worst case, not an upper one; "
    "only counts over every value of a 16-bit dtype are exact.",
    "Answers are judged under an upstream gradient of 2 (1/2, 1 and 2 by row without reduction); inputs are "
    "contiguous and their bits are compared afterwards. Other upstream gradients, layouts, edges of the "
    "shape, state and transforms are what the protocol asks.",
    "A ladder's number is the first failing value met on the way up, bisected; lower rungs were right.",
    "Peak bytes are allocator events above the resident inputs, the same on every run on the CPU.",
    "Times are medians of interleaved blocks on fresh clones; the interval is Student's t over fresh "
    "processes; ratios are formed round by round. A wrong answer is timed but never recommended.",
)

_TIERS = {
    "B0": "float64 closed form, exact reduction",
    "B1": "the same in unevaluated pairs of float64",
    "B2": "Arb ball of 128 to 1024 bits around the truth of a finding",
}


def suite_forms(suites: Mapping[str, Suite]) -> dict[str, Any]:
    """Returns what reports need of the declarations, as JSON."""
    return {
        name: {
            "formula": suite.formula,
            "oracle": row_oracle(suite).label,
            "tiers": tier_forms(row_oracle(suite)),
            "options": {option: repr(value) for option, value in suite.options.items()},
            "variants": {v.name: _options_text(v.options) for v in suite.variants},
            "regimes": {r.name: r.about for r in suite.regimes},
            "ladders": {ladder.name: ladder.names for ladder in suite.ladders},
            "exhaustive": {each.name: each.names for each in suite.exhaustive},
            "identities": {each.name: each.about or each.source for each in suite.identities},
            "implementations": {
                item.name: {
                    "about": item.about,
                    "baseline": item is suite.baseline,
                    "control": item.control,
                    "known_bad": item.known_bad,
                    "compiled": item.compiled,
                    "definition": {
                        option: _option_text(value) for option, value in item.contract.definition.items()
                    },
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


def tier_forms(oracle: RowOracle) -> list[dict[str, Any]]:
    """Returns the tiers of an oracle: which dtypes each judges, its stated rounding and floor, as JSON."""
    if not isinstance(oracle, ClosedForm):
        return [_tier_form("reference", oracle.label, DTYPES)]
    judged: dict[Tier, list[str]] = {tier: [] for tier in oracle.tiers()}
    for dtype in DTYPES:
        # As `standard` asks: pairs for float64, and a family without pairs answers with B0.
        judged["B1" if dtype == "float64" and "B1" in judged else "B0"].append(dtype)
    forms = [
        _tier_form(tier, _TIERS[tier], dtypes, oracle.rounding(tier), FLOOR)
        for tier, dtypes in judged.items()
    ]
    return [*forms, _tier_form("B2", _TIERS["B2"], ())] if oracle.exact is not None else forms


def _tier_form(
    tier: str, about: str, dtypes: Sequence[str], rounding: float | None = None, floor: float | None = None
) -> dict[str, Any]:
    return {"tier": tier, "about": about, "dtypes": list(dtypes), "rounding": rounding, "floor": floor}


def question_forms() -> list[dict[str, Any]]:
    """Returns every protocol question: its name, the kind of its findings, and who need not answer it."""
    return [
        {"name": q.name, "kind": q.kind, "refusable": q.refusable, "recompiles": q.recompiles}
        for q in QUESTIONS
    ]


def _options_text(options: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{key}={_option_text(value)}" for key, value in options.items()) or "every option neutral"
    )


def _option_text(value: Any) -> str:
    return str(getattr(value, "__name__", repr(value)))


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
    selection: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the manifest of a run that begins now; `selection` is what `discover` was given, as JSON."""
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
        "selection": selection,
        "plan": {"hash": plan.hash, "blocks": [block.to_json() for block in plan.blocks]},
        "coverage": {"expected": plan.expected},
        "skipped_axes": [{"axis": a.axis, "value": a.value, "reason": a.reason} for a in plan.absent],
        "left_out": list(plan.left_out),
        "broken_suites": list(discovered.broken),
        "suites": suites,
        "copy_bandwidth_bytes_per_second": None,
        "stale_known": [],
        "questions": question_forms(),
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
    """Writes the manifest so that a reader never sees half of it; raises StorageError when it cannot."""
    path = folder / MANIFEST
    scratch = path.with_suffix(".json.new")
    text = json.dumps(form, allow_nan=False, indent=1) + "\n"
    with writing(path, "make room or choose another folder; what was measured is kept"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_text(text, encoding="utf-8")
            os.replace(scratch, path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise


def stored_manifest(folder: Path) -> dict[str, Any] | None:
    """Returns the manifest of an earlier attempt, None when there is none; raises RunError if damaged."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    form = read_manifest(path)
    for keys in (("seed",), ("environment", "identity"), ("plan", "blocks")):
        stated(path, form, *keys)
    for number, block in enumerate(form["plan"]["blocks"]):
        stated(path, block, "probes", within=f"plan.blocks[{number}].")
    return form


def refuse_other_plan(folder: Path, before: Mapping[str, Any], plan: Plan, seed: int) -> None:
    """Raises RunError when a folder holds trials that a plan does not ask for, or another seed's.

    Their answers would stand in the report beside a manifest that declares neither suite nor seed.
    """
    out = "use another --out, or --fresh to measure again"
    if before["seed"] != seed:
        raise RunError(f"{folder}: was measured with seed {before['seed']}, not {seed}; {out}.")
    held = [f"{form['case']}/{name}" for form in before["plan"]["blocks"] for name in form["probes"]]
    asked = {f"{block.case.id}/{name}" for block in plan.blocks for name in block.probes}
    asked |= {refusal.trial.id for refusal in plan.refusals}
    foreign = [trial for trial in held if trial not in asked]
    if foreign:
        raise RunError(
            f"{folder}: holds {len(foreign)} trials that this command does not ask for, such as "
            f"{foreign[0]}; {out}."
        )


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
