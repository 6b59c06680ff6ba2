"""Kinds of findings, their severity and the sentence that a reader gets; the outcome of a trial.

The classes are those of the non-finite agreement table (R: exact value, RN(R): R rounded to the
output dtype, y^: what came back): a genuine overflow is right, a spurious one is wrong. The trap:
`outcome` (what was found) and `status` (whether it ran) are two columns, never one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from harness.results import INCOMPLETE, SEVERITIES, STATUSES, Finding, Result, Severity, Status


class Kind(NamedTuple):
    """A kind of finding: the severity it has by itself (None: decided by the numbers) and its sentence."""

    severity: Severity | None
    sentence: str
    cell: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "inaccurate": Kind(None, "beyond the strict bound 2 ulp + (4 + log2 C) u N", "inaccurate"),
        "dead_gradient": Kind(None, "returned as 0 although the exact gradient is a normal number", "grad 0"),
        "dead_loss": Kind("note", "loss returned as 0 although the exact loss is a normal number", "loss 0"),
        "flushed": Kind("note", "returned as 0 although the exact value is a subnormal number", "flushed"),
        "spurious_overflow": Kind("error", "infinite although the exact value is finite", "inf"),
        "spurious_nan": Kind("error", "NaN although the exact value is defined", "NaN"),
        "saturated": Kind("error", "finite although the exact value overflows", "saturated"),
        "nan_swallowed": Kind(
            "error", "not NaN although the exact value is undefined or depends on a NaN input", "NaN lost"
        ),
        "nan_leak": Kind("error", "NaN from an input that the value must not depend on", "NaN leak"),
        "negative": Kind("error", "negative although the exact loss is not", "negative"),
        "negative_zero": Kind("note", "-0 although the exact loss is not negative", "-0"),
        "loss_gradient_split": Kind("note", "one of loss and gradient is finite, the other is not", "split"),
        "raises": Kind("error", "raised on valid input", "raises"),
        "shape": Kind("error", "has another shape than the contract says", "shape"),
        "overwrites": Kind("error", "wrote into its inputs", "overwrites"),
        "no_gradient": Kind("error", "returned no gradient for an input that needs one", "no grad"),
        "graph_break": Kind("warning", "compiled with graph breaks", "graph break"),
        "recompiles": Kind("warning", "recompiled for an unchanged shape", "recompiles"),
        "upstream": Kind(None, "gradient wrong for another upstream gradient", "upstream"),
        "second_backward": Kind(None, "wrong in a second backward through the same graph", "2nd backward"),
        "grad_mode": Kind("error", "answers otherwise when other gradients are asked for", "grad mode"),
        "layout": Kind(None, "wrong for the same numbers in another memory layout", "layout"),
        "version_moved": Kind("warning", "moved the version of an input over unchanged bits", "version"),
        "stale_result": Kind(None, "answers old content, or another call's", "stale"),
        "result_dtype": Kind("warning", "has another dtype than the contract says", "dtype"),
        "changes_state": Kind("error", "changed global state", "state"),
        "autocast": Kind(None, "wrong under autocast", "autocast"),
        "second_order": Kind("error", "wrong second derivative", "2nd order"),
        "functional_transform": Kind(None, "wrong under a functional transform", "func"),
        "edge_shape": Kind(None, "wrong or raising at an edge of the shape", "edge"),
        "accepts_invalid": Kind("warning", "answers an invalid input with a number", "accepts"),
        "error_parity": Kind(
            "warning", "meets an invalid input in another manner compiled than as it is", "parity"
        ),
        "kills_process": Kind("warning", "ended the process on an invalid input", "kills"),
        "nondeterministic": Kind(None, "other bits on the same inputs", "not repeatable"),
        "neighbours": Kind(None, "a row's answer depends on the other rows", "neighbours"),
        "rounded_twice": Kind(
            "note", "further off than one rounding of the result: something before it was rounded", "rounded"
        ),
        "identity": Kind(
            "error", "two ways to say the same number differ by more than both may be off", "identity"
        ),
        "wrong_while_timed": Kind("error", "right before timing, wrong after it on unseen inputs", "cheats"),
    }
)


def severity(kind: str, decided: Severity | None = None) -> Severity:
    """Returns the severity of a kind; `decided` is needed where the numbers decide."""
    own = KINDS[kind].severity
    if own is not None:
        return own
    if decided is None:
        raise ValueError(f"severity({kind!r}) is decided by numbers; pass it")
    return decided


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Returns findings worst first, unknown before known; stable otherwise."""
    return sorted(findings, key=lambda f: (bool(f.known), -SEVERITIES.index(f.severity)))


def outcome(findings: Iterable[Finding]) -> str:
    """Returns "clean", "known", or the kind of the worst finding above note."""
    counted = [f for f in ranked(findings) if f.severity != "note"]
    if not counted:
        return "clean"
    open_findings = [f for f in counted if not f.known]
    return open_findings[0].kind if open_findings else "known"


def trial_status(results: Iterable[Result]) -> Status:
    """Returns the status of a trial over its probes: a failure wins, then ok, then the mildest."""
    seen = {result.status for result in results}
    for status in STATUSES:
        if status in seen and status in INCOMPLETE:
            return status
    if "ok" in seen:
        return "ok"
    return next((status for status in STATUSES if status in seen), "not_run")
