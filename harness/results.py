"""What a probe found out about one trial, as a frozen value with a JSON form that keeps NaN.

`status` says whether it ran, findings say what was found; a failure of an implementation is a
Result and never an exception. In JSON the non-finite numbers are the words "nan", "inf" and "-inf",
because JSON has none and null would mean absent. The trap: a number that was not measured is
absent from `numbers`, never NaN, since NaN is a result here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from harness.trial import Case, Trial, case_from

Status = Literal["ok", "unsupported", "skipped", "out_of_memory", "timed_out", "crashed", "error", "not_run"]
STATUSES: tuple[Status, ...] = get_args(Status)
# Results with these are incomplete: `run` exits 3 when it leaves one behind.
INCOMPLETE: frozenset[Status] = frozenset({"crashed", "timed_out", "out_of_memory", "error", "not_run"})
Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
NumberClass = Literal["finite", "nan", "inf", "-inf", "absent"]
SCHEMA = 1
# What a witness calls the size of an error: the only decimal in it, and no part of what it reproduces.
TIMES = "times_error_bound"
W = TypeVar("W")
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Quantity(NamedTuple):
    """A number that a probe reports: its name carries its kind, `unit` its unit."""

    name: str
    unit: str
    probe: str
    about: str


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("loss_ulps", "ulp", "accuracy", "largest error of the loss (A1)"),
    Quantity("loss_ulps_median", "ulp", "accuracy", "median error of the per-row losses (A1)"),
    Quantity("loss_ulps_p99", "ulp", "accuracy", "99th percentile error of the per-row losses (A1)"),
    Quantity("loss_eta_input", "1", "accuracy", "loss error over u*N_in + w/2 (A2)"),
    Quantity("loss_eta_shift", "1", "accuracy", "loss error over u*N_shift + w/2 (A3)"),
    Quantity("loss_floor", "1", "accuracy", "loss error over u*max(1,|y|) (A4)"),
    Quantity("loss_eta_reduction", "1", "accuracy", "reduced loss error over (2+log2 N)*u*N_red + w/2 (A6)"),
    Quantity("gradient_ulps", "ulp", "accuracy", "largest error of an entry of the worst gradient (A1)"),
    Quantity("gradient_ulps_median", "ulp", "accuracy", "median error of the entries of the worst gradient"),
    Quantity(
        "gradient_ulps_p99", "ulp", "accuracy", "99th percentile error of the entries of the worst gradient"
    ),
    Quantity("gradient_eta", "1", "accuracy", "largest gradient error over u*N + w/2 (A5)"),
    Quantity("gradient_floor", "1", "accuracy", "largest unreduced gradient error over u*max(1,|g|) (A4)"),
    Quantity("gradient_relative_error", "1", "accuracy", "largest row-wise |g^-g|_2/|g|_2 (A5)"),
    Quantity("gradient_zero_sum", "1", "accuracy", "largest row-wise |sum g^|/sum|g^| (A5)"),
    Quantity("gradient_dead_share", "1", "accuracy", "share of entries returned as 0 that are normal (A5)"),
    Quantity("gradient_bias_ulps", "ulp", "accuracy", "mean signed error of the gradient entries (A5)"),
    Quantity("target_ulps", "ulp", "accuracy", "largest error of a target entry"),
    Quantity("off_target_ulps", "ulp", "accuracy", "largest error of an off-target entry"),
    Quantity("tail_ulps", "ulp", "accuracy", "largest error of an entry below 2^-12 of its row's largest"),
    Quantity("ignored_ulps", "ulp", "accuracy", "largest error of an entry of an ignored row"),
    Quantity("questions", "count", "protocol", "protocol questions asked"),
    Quantity("questions_unsupported", "count", "protocol", "protocol questions refused, as they may be"),
    Quantity("repeat_ulps", "ulp", "determinism", "largest difference between repeats, 0: same bits"),
    Quantity("permutation_ulps", "ulp", "determinism", "largest difference after reordering the rows"),
    Quantity("slicing_ulps", "ulp", "determinism", "largest difference of a row in a smaller batch"),
    Quantity("layout_ulps", "ulp", "determinism", "largest difference with the axes stored in reverse"),
    Quantity("threads_ulps", "ulp", "determinism", "largest difference between one thread and several"),
    Quantity("seeds", "count", "spread", "samples that the distribution comes from"),
    Quantity("norm_error_low", "1", "spread", "lowest |g^-g|_2/|g|_2 over the seeds, worst gradient"),
    Quantity("norm_error_median", "1", "spread", "median |g^-g|_2/|g|_2 over the seeds, worst gradient"),
    Quantity("norm_error_high", "1", "spread", "highest |g^-g|_2/|g|_2 over the seeds, worst gradient"),
    Quantity("bias_ulps", "ulp", "spread", "mean signed error of the worst gradient over the seeds"),
    Quantity("bias_standard_error_ulps", "ulp", "spread", "its standard error"),
    Quantity("identities", "count", "identity", "identities asked"),
    Quantity("identities_unsupported", "count", "identity", "identities that need what it does not take"),
    Quantity("identity_share", "1", "identity", "largest difference of two sides over what is allowed"),
    Quantity("invalid_inputs", "count", "invalid_input", "invalid inputs asked"),
    Quantity("invalid_inputs_refused", "count", "invalid_input", "invalid inputs refused by raising"),
    Quantity("invalid_inputs_uneven", "count", "invalid_input", "met in another manner than uncompiled"),
    Quantity("input_bytes", "bytes", "memory", "bytes of all input tensors"),
    Quantity("forward_peak_bytes", "bytes", "memory", "peak during forward, inputs excluded"),
    Quantity("backward_peak_bytes", "bytes", "memory", "peak during backward, inputs excluded"),
    Quantity("live_between_bytes", "bytes", "memory", "live between forward and backward"),
    Quantity("peak_bytes", "bytes", "memory", "peak of forward and backward, inputs excluded"),
    Quantity("forward_peak_multiple", "x logits", "memory", "forward peak over the bytes of the logits"),
    Quantity("backward_peak_multiple", "x logits", "memory", "backward peak over the bytes of the logits"),
    Quantity("live_between_multiple", "x logits", "memory", "live between over the bytes of the logits"),
    Quantity("peak_multiple", "x logits", "memory", "peak over the bytes of the logits"),
    Quantity("cold_compile_seconds", "s", "compilation", "first call in a fresh cache directory"),
    Quantity("warm_compile_seconds", "s", "compilation", "first call with the compiler's cache filled"),
    Quantity("graphs", "count", "compilation", "compiled graphs"),
    Quantity("graph_breaks", "count", "compilation", "graph breaks"),
    Quantity("recompiles", "count", "compilation", "recompilations over three calls of one shape"),
    Quantity("seconds", "s", "timing", "median of forward+backward"),
    Quantity("seconds_low", "s", "timing", "lower end of the 95 % interval of the median"),
    Quantity("seconds_high", "s", "timing", "upper end of the 95 % interval of the median"),
    Quantity("forward_seconds", "s", "timing", "median of forward alone"),
    Quantity("forward_seconds_low", "s", "timing", "lower end of its 95 % interval"),
    Quantity("forward_seconds_high", "s", "timing", "upper end of its 95 % interval"),
    Quantity("backward_seconds", "s", "timing", "median of backward alone, graph built outside the clock"),
    Quantity("backward_seconds_low", "s", "timing", "lower end of its 95 % interval"),
    Quantity("backward_seconds_high", "s", "timing", "upper end of its 95 % interval"),
    Quantity("ratio", "1", "timing", "seconds over the baseline's, from the same rounds"),
    Quantity("ratio_low", "1", "timing", "lower end of its 95 % interval"),
    Quantity("ratio_high", "1", "timing", "upper end of its 95 % interval"),
    Quantity("samples", "count", "timing", "timed blocks of forward+backward"),
    Quantity("processes", "count", "timing", "fresh processes that they come from"),
    Quantity("elements_per_second", "1/s", "timing", "rows x classes over seconds"),
    Quantity("bytes_per_second", "B/s", "timing", "minimal traffic over seconds"),
    Quantity("copy_bandwidth_share", "1", "timing", "bytes_per_second over the measured copy bandwidth"),
)
# Each climbed ladder adds first_failing_, first_nonfinite_, loss_fails_ and gradient_fails_<ladder>, or
# first_dead_<ladder>; those of gradients also as <column>/<input> where there are several. Each exhaustive
# question adds exhaustive_<name>_inputs and _<kind> in 16 bits.
LADDER_PREFIXES = ("first_failing_", "first_nonfinite_", "loss_fails_", "gradient_fails_", "first_dead_")
EXHAUSTIVE_PREFIX = "exhaustive_"


def number_class(value: float | None) -> NumberClass:
    """Returns the class of a number; None is absent."""
    if value is None:
        return "absent"
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return "finite"


def to_json_number(value: float) -> float | str:
    """Returns a finite number as it is and a non-finite one as its word."""
    kind = number_class(value)
    return value if kind == "finite" else kind


def from_json_number(value: float | str) -> float:
    """Returns the number behind a JSON number or a word; raises KeyError for other text."""
    return _WORDS[value] if isinstance(value, str) else float(value)


def _one_of(word: Any, allowed: tuple[W, ...]) -> W:
    """Returns a word of a closed set; raises ValueError for any other."""
    if word not in allowed:
        raise ValueError(f"{word!r}, allowed: {', '.join(map(str, allowed))}")
    found: W = word
    return found


@dataclass(frozen=True)
class Finding:
    """A named defect with the witness that reproduces it.

    `witness` holds hex floats, never decimals; `known` is the reason of the Known entry that covers
    it, empty when there is none, and `outside` whether that entry puts it outside of the declared domain.
    """

    kind: str
    severity: Severity
    probe: str
    group: str
    message: str
    witness: Mapping[str, Any] = field(default_factory=dict)
    known: str = ""
    outside: bool = False

    @property
    def times(self) -> float | None:
        """The largest error that is meant, in units of the bound beyond which an inaccuracy is an error.

        None where a size means nothing (NaN, an infinity, an exception), and in a witness that states none,
        as those of older runs do.
        """
        stated = self.witness.get(TIMES)
        return float(stated) if isinstance(stated, int | float) else None

    @property
    def bars(self) -> bool:
        """Whether the finding bars its implementation from being ranked."""
        return self.severity == "error" and not self.outside

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "probe": self.probe,
            "group": self.group,
            "message": self.message,
            "witness": dict(self.witness),
            "known": self.known,
            "outside": self.outside,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Finding:
        """Returns the finding of a JSON form; raises KeyError or ValueError for a damaged one."""
        return cls(
            form["kind"],
            _one_of(form["severity"], SEVERITIES),
            form["probe"],
            form["group"],
            form["message"],
            form["witness"],
            form["known"],
            form.get("outside", False),
        )


@dataclass(frozen=True)
class Result:
    """One (trial, probe, attempt): status, findings and the probe's numbers."""

    trial: Trial
    probe: str
    status: Status
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    key: str = ""
    spent_seconds: float = 0.0

    def keyed(self, key: str, attempt: int) -> Result:
        """Returns this result with the journal key and attempt that it is stored under."""
        return replace(self, key=key, attempt=attempt)

    def to_json(self) -> dict[str, Any]:
        """Returns the line of `results.jsonl`."""
        return {
            "schema": SCHEMA,
            "trial": self.trial.id,
            **self.trial.case.axes(),
            "implementation": self.trial.implementation,
            "probe": self.probe,
            "attempt": self.attempt,
            "status": self.status,
            "reason": self.reason,
            "findings": [finding.to_json() for finding in self.findings],
            "numbers": {name: to_json_number(value) for name, value in self.numbers.items()},
            "notes": dict(self.notes),
            "key": self.key,
            "spent_seconds": self.spent_seconds,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Result:
        """Returns the result of a line; raises KeyError or ValueError for a damaged one."""
        case: Case = case_from(form)
        return cls(
            trial=Trial(case, form["implementation"]),
            probe=form["probe"],
            status=_one_of(form["status"], STATUSES),
            reason=form["reason"],
            findings=tuple(Finding.from_json(item) for item in form["findings"]),
            numbers={name: from_json_number(value) for name, value in form["numbers"].items()},
            notes=form["notes"],
            attempt=form["attempt"],
            key=form["key"],
            spent_seconds=form["spent_seconds"],
        )


def dumps(form: Mapping[str, Any]) -> str:
    """Returns one line of strict JSON; raises ValueError for a bare NaN or infinity.

    A lone surrogate, which an exception text can hold and UTF-8 cannot, becomes "?".
    """
    text = json.dumps(form, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def worst(severities: list[Severity]) -> Severity | None:
    """Returns the highest severity, None for an empty list."""
    return max(severities, key=SEVERITIES.index) if severities else None
