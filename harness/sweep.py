"""Axes to plan: what a user asked for times what the suites declare, admitted trial by trial.

A profile composes the cases; here they are filtered, refused where an implementation cannot be asked or
the machine has no memory for it, and cut to ARTEFACTS compiled forms under quick. The trap: a trial that
cannot be asked is a refusal with a reason, since a trial that merely vanished would look like a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.calling import admission
from harness.environment import absent_devices, available_bytes
from harness.errors import UsageError, unknown
from harness.filters import filter_predicate, keyword_predicate
from harness.plan import PROBES, Absent, Block, Plan, Refusal
from harness.profiles import COMPOSERS, PROFILES, TIMED_DTYPES, Asked
from harness.profiles import Sweep as Sweep
from harness.suite import Suite
from harness.trial import DEVICES, DTYPES, Case, Trial

ARTEFACTS = 40
# float64 truth, sensitivities, bounds and labels, and several copies in the dtype while judging.
ORACLE_BYTES_PER_ENTRY = 80
COPIES_PER_ENTRY = 8


def planned(sweep: Sweep, suites: Mapping[str, Suite]) -> Plan:
    """Returns the plan of a sweep over suites; raises UsageError for values that do not exist."""
    _check(sweep, suites)
    present, absent = _devices(sweep)
    composed = Asked()
    left_out: list[str] = []
    for suite in suites.values():
        for device in present:
            COMPOSERS[sweep.profile](composed, suite, device, sweep, left_out)
    return _admitted(composed, suites, sweep, absent, left_out)


def _check(sweep: Sweep, suites: Mapping[str, Suite]) -> None:
    declared = {
        "--variant": (sweep.variants, [v.name for s in suites.values() for v in s.variants]),
        "--regime": (sweep.regimes, [r.name for s in suites.values() for r in s.regimes]),
        "--dtype": (sweep.dtypes, list(DTYPES)),
        "--device": (sweep.devices, list(DEVICES)),
        "--probe": (sweep.probes, list(PROBES)),
        "--profile": ((sweep.profile,), list(PROFILES)),
    }
    for flag, (asked, allowed) in declared.items():
        for value in asked or ():
            if value not in allowed:
                raise UsageError(unknown(f"{flag} {value}", flag.strip("-"), value, dict.fromkeys(allowed)))
    for flag, numbers in (
        ("--batch", sweep.batches),
        ("--classes", sweep.classes),
        ("--threads", sweep.threads),
    ):
        for number in numbers or ():
            if number < 1:
                raise UsageError(f"{flag} {number}: must be 1 or more.")


def _devices(sweep: Sweep) -> tuple[list[str], list[Absent]]:
    missing = absent_devices()
    asked = sweep.devices or DEVICES
    absent = [Absent("device", device, missing[device]) for device in asked if device in missing]
    return [device for device in asked if device not in missing], absent


def needed_bytes(case: Case) -> int:
    """Returns an estimate of the memory that a case needs with its truth and one implementation."""
    size = {"float64": 8, "float32": 4}.get(case.dtype, 2)
    return case.batch * case.classes * (ORACLE_BYTES_PER_ENTRY + COPIES_PER_ENTRY * size)


def _excluded(trial: Trial, excludes: tuple[Mapping[str, Any], ...]) -> bool:
    facts = trial.facts()
    for rule in excludes:
        for key in rule:
            if key not in facts:
                raise UsageError(unknown(f"[[sweep.exclude]] {key} = {rule[key]!r}", "axis", key, facts))
        if all(
            facts[key] in {str(v) for v in (value if isinstance(value, list) else [value])}
            for key, value in rule.items()
        ):
            return True
    return False


def _admitted(
    composed: Asked, suites: Mapping[str, Suite], sweep: Sweep, absent: list[Absent], left_out: list[str]
) -> Plan:
    fits, matches = filter_predicate(sweep.filters), keyword_predicate(sweep.keyword)
    blocks: list[Block] = []
    refusals: list[Refusal] = []
    artefacts = chosen_artefacts(composed, suites) if sweep.profile == "quick" else None
    beyond = 0
    limit = available_bytes()
    for case, implementations in composed.cases.items():
        suite = suites[case.suite]
        asked: dict[str, tuple[str, ...]] = {}
        for name, probes in implementations.items():
            trial = Trial(case, name)
            wanted = tuple(p for p in PROBES if p in probes and (sweep.probes is None or p in sweep.probes))
            if not wanted or not fits(trial) or not matches(trial) or _excluded(trial, sweep.excludes):
                continue
            refused = admission(suite, suite.implementation(name), case)
            if refused is not None:
                refusals.append(Refusal(trial, *refused))
                continue
            if needed_bytes(case) > limit:
                refusals.append(Refusal(trial, "skipped", _too_large(case, limit)))
                continue
            compiled = suite.implementation(name).compiled
            if artefacts is not None and compiled and (*case.artefact, name) not in artefacts:
                beyond += 1
                continue
            asked[name] = wanted
        if asked:
            blocks.append(Block(case, asked))
    if beyond:
        left_out.append(
            f"{beyond} compiled trials beyond {ARTEFACTS} compiled artefacts; `--profile full` asks them"
        )
    return Plan(tuple(blocks), tuple(refusals), tuple(absent), tuple(left_out))


def chosen_artefacts(composed: Asked, suites: Mapping[str, Suite]) -> frozenset[tuple[str, ...]]:
    """Returns the ARTEFACTS that quick compiles: an even share for each suite, and what others leave over.

    A suite's share goes to the first dtype that is timed, in the order of composition, then to the others:
    where there is one artefact, it is that of the dtype which people compile in.
    """
    wanted: dict[str, dict[tuple[str, ...], bool]] = {}
    for case, implementations in composed.cases.items():
        for name in implementations:
            item = suites[case.suite].implementation(name)
            if item.compiled and admission(suites[case.suite], item, case) is None:
                rest = case.dtype != TIMED_DTYPES[0]
                wanted.setdefault(case.suite, {})[(*case.artefact, name)] = rest
    chosen: set[tuple[str, ...]] = set()
    for place, suite in enumerate(sorted(wanted, key=lambda suite: len(wanted[suite]))):
        share = (ARTEFACTS - len(chosen)) // (len(wanted) - place)
        chosen.update(sorted(wanted[suite], key=wanted[suite].__getitem__)[:share])
    return frozenset(chosen)


def _too_large(case: Case, limit: int) -> str:
    from harness.units import byte_count

    return (
        f"needs about {byte_count(needed_bytes(case))} for inputs, truth and one implementation at "
        f"batch {case.batch} x {case.classes} classes, {byte_count(limit)} are available; lower --batch or "
        "--classes"
    )
