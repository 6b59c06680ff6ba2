"""A run made up of every kind of row that a report has to say something true about.

`small` is meant to be read: one suite, seven implementations, each there for one reason. `large` is
the same shape blown up to any number of trials. Numbers are a hash of the trial id, never random,
so that a report of it is the same bytes on every machine.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial

REGIMES = {
    "unit_normal": "standard normal logits",
    "confident": "the target leads by 30",
    "confident_wrong": "another class leads by 30",
    "near_overflow": "logits at nine tenths of the largest number",
    "large_offset": "a common offset of 1,000",
    "ties": "all logits equal",
    "masked": "half of the classes at -inf",
}
DTYPES = ("float32", "bfloat16", "float16")
HOSTILE = "<script>alert('owned')</script> & https://evil.example/?a=1"
IMPLEMENTATIONS: dict[str, dict[str, Any]] = {
    "naive": {"about": "exp, sum and log as the formula says"},
    "softmax_log": {"about": "softmax, then log"},
    "logsumexp": {"about": "logsumexp minus the target's logit"},
    "native": {
        "about": "torch.nn.functional.cross_entropy",
        "baseline": True,
        "known": [
            {
                "kind": "dead_gradient",
                "reason": "the target's gradient is p - 1, which rounds to 0",
                "upstream": "https://github.com/pytorch/pytorch/issues/1",
            }
        ],
    },
    "compiled": {"about": "logsumexp under torch.compile", "compiled": True},
    "upcast": {"about": "native in float64, rounded once", "control": True},
    "double_softmax": {"about": "softmax of a softmax", "known_bad": "pass logits, not probabilities"},
}
TIERS = [
    {"tier": "B0", "about": "float64 closed form", "dtypes": ["float32", "bfloat16", "float16"],
     "rounding": 2.0**-50, "floor": 2.0**-1070},
    {"tier": "B1", "about": "pairs of float64", "dtypes": ["float64"], "rounding": 2.0**-64, "floor": 0.0},
    {"tier": "B2", "about": "Arb ball", "dtypes": [], "rounding": None, "floor": None},
]  # fmt: skip
_SPEED = {"naive": 2.4, "softmax_log": 1.3, "logsumexp": 0.77, "native": 1.0, "compiled": 0.55, "upcast": 3.1}
_MEMORY = {"naive": 6.0, "softmax_log": 4.0, "logsumexp": 3.0, "native": 3.0, "compiled": 2.0, "upcast": 8.0}


def share(*names: object) -> float:
    """Returns a number in [0, 1) that depends on the names alone."""
    return zlib.crc32("/".join(map(str, names)).encode()) / 2**32


def small(path: Path) -> Run:
    """Returns the readable run, partial: a crash, an unsupported trial, two without any result."""
    cases = [
        Case("cross_entropy", variant, regime, dtype, "cpu", batch, classes, 1)
        for dtype in DTYPES
        for variant, batch, classes in (
            ("mean", 64, 10), ("mean", 64, 1000), ("mean", 64, 32000), ("weighted", 64, 10)
        )
        for regime in REGIMES
        if (variant == "mean" and classes == 10) or regime in ("unit_normal", "ties")
    ]  # fmt: skip
    return _run(path, cases, IMPLEMENTATIONS, gaps=True)


def large(path: Path, trials: int, suites: int = 6) -> Run:
    """Returns a complete run of about so many trials, four results each: 20 regimes in each suite.

    With many suites each gets the first of its cases, every dtype of them.
    """
    implementations = {**IMPLEMENTATIONS, **{f"other_{n}": {"about": f"form {n}"} for n in range(3)}}
    regimes = {**REGIMES, **{f"regime_{n}": f"distribution {n}" for n in range(20 - len(REGIMES))}}
    shapes = ((1, 3), (64, 10), (64, 1000), (256, 1000), (64, 32000))
    cases = [
        Case(f"family_{suite}", "mean", regime, dtype, "cpu", batch, classes, 1)
        for suite in range(suites)
        for dtype in ("float64", *DTYPES)
        for batch, classes in shapes
        for regime in regimes
    ]
    kept = max(1, trials // len(implementations))
    if suites > 6:
        step = max(1, len(cases) // kept)
        return _run(path, cases[::step], implementations, gaps=False)
    return _run(path, cases[:kept], implementations, gaps=False)


def empty(path: Path, **manifest: Any) -> Run:
    """Returns a run with nothing in it but what is given."""
    return Run(path, {"schema": 1, "plan": {"hash": "0" * 64, "blocks": []}, **manifest}, ())


def questioned(path: Path) -> Run:
    """Returns the readable run where one case per dtype also answered the questions about its manners.

    naive answers zero rows wrong (known) and takes a negative label, softmax_log breaks two questions
    and its repeats differ, compiled dies of invalid input and refuses a second backward, upcast is
    asked nothing because its plain call fails in float16; all others behave alike.
    """
    run = small(path)
    kept, more = [], []
    for result in run.results:
        asked = result.trial.case.regime == "unit_normal" and result.trial.case.variant == "mean"
        if not (asked and (result.trial.case.batch, result.trial.case.classes) == (64, 10)):
            kept.append(result)
        elif result.probe == "overflow":
            kept.append(replace(result, numbers={**result.numbers, **_exhaustive(result.trial)}))
        elif result.probe == "protocol":
            more += _manners(result.trial)
        else:
            kept.append(result)
    suites = {
        name: {**form, "exhaustive": {"gap": "lead of the target"}, "tiers": TIERS,
               "variants": {"mean": "every option neutral"}}
        for name, form in run.manifest["suites"].items()
    }  # fmt: skip
    questions = [{"name": "zero rows", "kind": "edge_shape", "refusable": False, "recompiles": True}]
    return Run(path, {**run.manifest, "suites": suites, "questions": questions}, (*kept, *more))


def _exhaustive(trial: Trial) -> dict[str, float]:
    inputs = {"float16": 63488.0, "bfloat16": 65280.0}.get(trial.case.dtype)
    if inputs is None or trial.implementation == "compiled":
        return {}
    dead = 0.0 if trial.implementation == "upcast" else 315.0
    return {
        "exhaustive_gap_inputs": inputs,
        **({"exhaustive_gap_dead_gradient": dead, "exhaustive_gap_inaccurate": 4399.0} if dead else {}),
        **({"exhaustive_gap_spurious_nan": 49522.0} if trial.implementation == "softmax_log" else {}),
    }


def _manners(trial: Trial) -> Iterator[Result]:
    case, name = trial.case, trial.implementation

    def found(kind: str, severity: Any, probe: str, group: str, known: str = "") -> Finding:
        return Finding(kind, severity, probe, group, f"call: {HOSTILE}", {"question": group}, known)

    if name == "upcast" and case.dtype == "float16":
        yield Result(trial, "protocol", "skipped", "the plain call fails (raises); see accuracy")
        return
    wrong = {
        "naive": (found("edge_shape", "error", "protocol", "zero rows", "torch.stack takes no empty list"),),
        "softmax_log": (
            found("stale_result", "warning", "protocol", "two graphs alive"),
            found("layout", "error", "protocol", "strided inputs"),
        ),
    }
    notes = {"unsupported: second backward": "RuntimeError: freed"} if name == "compiled" else {}
    asked = {"questions": 29.0 if name == "compiled" else 31.0, "questions_unsupported": float(len(notes))}
    yield Result(trial, "protocol", "ok", findings=wrong.get(name, ()), numbers=asked, notes=notes)
    moves = found("nondeterministic", "error", "determinism", "repeat") if name == "softmax_log" else None
    bits = {"repeat_ulps": 3.0 if moves else 0.0, "permutation_ulps": 1.0 if name == "naive" else 0.0}
    if name != "compiled":
        bits |= {"layout_ulps": math.inf if name == "naive" else 0.0, "threads_ulps": 0.0}
    yield Result(trial, "determinism", "ok", findings=(moves,) if moves else (), numbers=bits)
    lost = name == "softmax_log"
    yield Result(trial, "spread", "ok", numbers={
        "seeds": 8.0, "norm_error_low": math.nan if lost else 1e-7 * (1 + share(trial.id)),
        "norm_error_median": math.nan if lost else 3e-7, "norm_error_high": math.nan if lost else 9e-7,
        "bias_ulps": 2.5 if name == "naive" else 0.01, "bias_standard_error_ulps": 0.1,
    })  # fmt: skip
    if case.dtype != "float32":
        return
    if name == "compiled":
        dies = found("kills_process", "warning", "invalid_input", "labels", "a parallel region")
        yield Result(trial, "invalid_input", "ok", findings=(dies,))
    else:
        takes = found("accepts_invalid", "warning", "invalid_input", "label_negative")
        yield Result(
            trial, "invalid_input", "ok", findings=(takes,) if name == "naive" else (),
            numbers={"invalid_inputs": 12.0, "invalid_inputs_refused": 10.0 if name == "naive" else 12.0},
        )  # fmt: skip


def without(run: Run, *probes: str) -> Run:
    """Returns the run as if some probes had never been planned."""
    kept = tuple(result for result in run.results if result.probe not in probes)
    blocks = [
        {**block, "probes": {k: [p for p in v if p not in probes] for k, v in block["probes"].items()}}
        for block in run.manifest["plan"]["blocks"]
    ]
    return Run(run.path, {**run.manifest, "plan": {"hash": "0" * 64, "blocks": blocks}}, kept)


def _run(path: Path, cases: list[Case], implementations: Mapping[str, Any], *, gaps: bool) -> Run:
    blocks, results = [], []
    for case in cases:
        probes = {}
        for name, facts in implementations.items():
            trial = Trial(case, name)
            answers = list(_answers(trial, bool(facts.get("compiled")), gaps))
            probes[name] = [result.probe for result in answers] or ["accuracy"]
            if gaps and case.regime == "ties" and case.variant == "weighted" and case.dtype == "float32":
                if name in ("naive", "softmax_log"):
                    continue
                if name == "compiled":  # timed too late: the run was stopped
                    probes[name].append("timing")
            results.extend(answers)
        blocks.append({"case": case.id, "probes": probes})
    return Run(path, _manifest(blocks, cases, implementations, gaps), tuple(results))


def _answers(trial: Trial, compiled: bool, gaps: bool) -> Iterator[Result]:
    case, name = trial.case, trial.implementation
    if gaps and name == "compiled" and case.dtype == "float16":
        yield Result(trial, "admission", "unsupported", reason=f"no C++ compiler {HOSTILE}")
        return
    if gaps and name == "naive" and case.classes == 32000 and case.dtype == "float16":
        yield Result(trial, "accuracy", "crashed", reason="killed by signal 6 (aborted)")
        return
    yield Result(trial, "accuracy", "ok", findings=_findings(trial), numbers=_accuracy(trial))
    yield Result(trial, "protocol", "ok", numbers={"questions": 31.0, "questions_unsupported": 1.0})
    usual = case.regime == "unit_normal" and case.variant == "mean"
    if not gaps or (usual and (case.batch, case.classes) == (64, 10)):
        top = {"float64": 709.8, "float32": 88.7, "bfloat16": 88.5, "float16": 11.1}[case.dtype]
        breaks = {"first_failing_scale": top} if name in ("naive", "softmax_log") else {}
        dead = {"first_dead_gap": top * 0.2} if name in ("native", "softmax_log") else {}
        yield Result(trial, "overflow", "ok", numbers={**breaks, **dead})
    if gaps and (not usual or name == "double_softmax"):
        return
    entries = case.batch * case.classes
    size = {"float64": 8, "float32": 4}.get(case.dtype, 2)
    times = _MEMORY.get(name, 3.0) + 2 / case.classes
    yield Result(trial, "memory", "ok", numbers={
        "input_bytes": entries * size + 8 * case.batch, "peak_bytes": times * entries * size,
        "peak_multiple": times, "forward_peak_multiple": times * 0.7, "backward_peak_multiple": times,
        "live_between_multiple": 1.0, "forward_peak_bytes": times * 0.7 * entries * size,
        "backward_peak_bytes": times * entries * size, "live_between_bytes": entries * size,
    })  # fmt: skip
    if compiled:
        yield Result(trial, "compilation", "ok", numbers={
            "graphs": 1, "graph_breaks": 0, "recompiles": 0, "warm_compile_seconds": 1.2 + share(case.id),
        })  # fmt: skip
    relative = _SPEED.get(name, 1.2) * (1 + 0.1 * share(trial.id))
    base = (6e-6 + entries * 2.2e-9) * (1 if size >= 4 else 1.6)
    seconds = base * relative
    fused = name == "compiled"
    ahead = 0.9 if fused else 0.4
    notes = {"stopped": "rounds spent", **({"fused": "forward computes the gradients"} if fused else {})}
    yield Result(trial, "timing", "ok", notes=notes, numbers={
        "seconds": seconds, "seconds_low": seconds * 0.985, "seconds_high": seconds * 1.02,
        "forward_seconds": seconds * ahead, "forward_seconds_low": seconds * (ahead - 0.01),
        "forward_seconds_high": seconds * (ahead + 0.01), "backward_seconds": seconds * (1 - ahead),
        "backward_seconds_low": seconds * (0.99 - ahead), "backward_seconds_high": seconds * (1.01 - ahead),
        "ratio": 1.0 if name == "native" else relative, "ratio_low": relative * 0.985,
        "ratio_high": relative * 1.02, "samples": 60, "processes": 5,
        "elements_per_second": entries / seconds, "bytes_per_second": 2 * entries * size / seconds,
        "copy_bandwidth_share": 2 * entries * size / seconds / 9e9,
    })  # fmt: skip


def _accuracy(trial: Trial) -> dict[str, float]:
    case, name = trial.case, trial.implementation
    grown = 1 + math.log2(case.classes)
    loss = 0.5 + grown * share(trial.id, "loss") * (3 if name in ("naive", "softmax_log") else 0.4)
    gradient = 0.5 + grown * share(trial.id, "gradient") * (4 if name in ("naive", "softmax_log") else 0.6)
    if name == "upcast":
        loss = gradient = 0.5
    if name == "naive" and case.regime == "near_overflow":
        loss = gradient = math.nan
    if name == "softmax_log" and case.regime == "confident_wrong":
        loss, gradient = math.inf, math.nan
    if name == "native" and case.regime == "confident":
        gradient = 3.1e7
    return {
        "loss_ulps": loss, "loss_ulps_median": loss * 0.3, "loss_ulps_p99": loss * 0.9,
        "gradient_ulps": gradient, "gradient_ulps_median": gradient * 0.2,
        "gradient_ulps_p99": gradient * 0.8, "gradient_relative_error": 1e-7, "gradient_eta": 0.9,
    }  # fmt: skip


def _findings(trial: Trial) -> tuple[Finding, ...]:
    case, name = trial.case, trial.implementation
    witness = {"row": 3, "input": "0x1.8p+6", "exact": "0x1.0p-3"}

    def found(kind: str, severity: Any, group: str, message: str, known: str = "") -> tuple[Finding, ...]:
        return (Finding(kind, severity, "accuracy", group, message, witness, known),)

    if name == "naive" and case.regime == "near_overflow":
        return found("spurious_nan", "error", "gradient", f"NaN in 64 of 64 rows {HOSTILE}")
    if name == "softmax_log" and case.regime == "confident_wrong":
        return found("spurious_overflow", "error", "loss", "+inf in 12 of 64 rows, exact 30.0")
    if name == "native" and case.regime == "confident":
        reason = IMPLEMENTATIONS["native"]["known"][0]["reason"]
        return found("dead_gradient", "warning", "target", "0 in 64 of 64 target entries", reason)
    if name == "logsumexp" and case.regime == "large_offset" and case.dtype == "float32":
        return found("inaccurate", "warning", "loss", "41 ulp at row 3, allowed 11.3")
    if name == "double_softmax":
        return found("inaccurate", "error", "loss", "1.2e6 ulp at row 0, allowed 11.3")
    return ()


def _manifest(
    blocks: list[dict[str, Any]], cases: list[Case], implementations: Mapping[str, Any], gaps: bool
) -> dict[str, Any]:
    suites = list(dict.fromkeys(case.suite for case in cases))
    regimes = {case.regime: REGIMES.get(case.regime, "a distribution") for case in cases}
    return {
        "schema": 1, "name": "synthetic", "lossgauge": "0.1.0", "command": "lossgauge run --seed 0",
        "profile": "quick", "seed": 0, "started": "2026-11-21T01:52:00Z",
        "finished": None if gaps else "2026-11-21T02:00:31Z", "wall_seconds": 511.0,
        "environment": {
            "identity": {"cpu": "Xeon 2.5 GHz", "torch": "2.13.0+cpu", "capability": "AVX512", "threads": 1},
            "context": {"git": "3f2a1c9", "load": 0.4, "hostname": "box"},
        },
        "config": {"sweep.dtype": {"value": list(DTYPES), "source": "command line"},
                   "measure.seed": {"value": 0, "source": "default"}},
        "plan": {"hash": "ab" * 32, "blocks": blocks},
        "coverage": {"pairs": 1.0},
        "skipped_axes": [{"axis": "device", "value": "cuda", "reason": "this machine has no CUDA device"}],
        "left_out": ["The profile quick asks variants only at the usual shape."],
        "broken_suites": ["suite 'mine': no module named 'mine'"] if gaps else [],
        "suites": {
            suite: {
                "formula": "-log softmax(x)_t", "oracle": "closed form, certified by Arb",
                "options": {"reduction": "mean"}, "regimes": regimes,
                "variants": {"mean": "the mean", "weighted": "class weights"},
                "ladders": {"scale": "logit scale", "gap": "logit by which the target leads"},
                "implementations": {
                    name: {"about": "", "baseline": False, "control": False, "known_bad": "", "known": [],
                           "compiled": False, **facts}
                    for name, facts in implementations.items()
                },
            }
            for suite in suites
        },
        "copy_bandwidth_bytes_per_second": 9.0e9,
        "stale_known": ["native: dead_loss in confident no longer occurs"] if gaps else [],
        "method": ["Errors are taken against closed forms in float64 pairs.",
                   "Times are medians over interleaved rounds in fresh processes."],
    }  # fmt: skip
