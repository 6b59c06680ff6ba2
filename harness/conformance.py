"""Whether a suite can be believed: what its declarations owe to whoever reads its verdicts.

`departures` returns a sentence for everything that a suite lacks or says wrongly: a formula, a baseline,
two clean controls, worked examples; names in Known, Blind, Contract and Example that exist nowhere; a
variant, regime, dtype or implementation that the quick profile never reaches; a draw that is not a function
of the seed; an oracle that is not finite where its inputs are; a clean control with a finding; an identity
that nobody takes; a Blind that excuses nothing. The trap: a check that was asked of nothing passes, so a
suite without controls, or with controls that no block reaches, says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

import numpy as np

from harness.block import OpenBlock
from harness.calling import admission
from harness.errors import HarnessError
from harness.inputs import draw, element_options
from harness.observation import same_bits
from harness.outcome import KINDS
from harness.plan import PROBES, Plan
from harness.probes.accuracy import accuracy
from harness.probes.identity import holding
from harness.probes.overflow import overflow
from harness.probes.protocol.probe import protocol
from harness.sample import Sample, Shape
from harness.standard import row_oracle
from harness.suite import Blind, Suite
from harness.sweep import Sweep, planned
from harness.trial import DEVICES, DTYPES, Case
from harness.vacuity import covering, of_question, reaches, vacuous_checks

CONTROLS = 2
SMALL = Shape(8, 5)
DTYPE = "float32"
# So many blocks of the quick plan are put to the clean controls; `pytest suites/NAME.py` puts all of them.
SHARE = 10
# Where an entry that excuses a vacuous check is looked for: which entries are near zero depends on the draw.
SEEDS_OF_QUICK, SEEDS_OF_FULL, LARGEST_CASE = 5, 1, 1 << 17


def departures(suite: Suite, seed: int = 0) -> list[str]:
    """Returns what a suite owes, a sentence each; nothing for a suite that conforms.

    Takes about half a second of one core, some seconds more for a Blind that is rarely needed. What a regime
    or the oracle raises on inputs of its own suite goes through.
    """
    plan = planned(Sweep(devices=("cpu",)), {suite.name: suite})
    return [
        *_says(suite),
        *_refers(suite),
        *_reached(suite, plan),
        *_drawn(suite, seed),
        *_clean(suite, plan, seed),
        *_held(suite, seed),
        *_excused(suite, plan, seed),
    ]


def _says(suite: Suite) -> Iterator[str]:
    """Yields what is missing from the declarations."""
    if not suite.formula:
        yield "formula is empty: say the loss of a row in one line"
    if not any(item.baseline for item in suite.implementations):
        yield "no implementation is the baseline: mark the one that ratios are taken against"
    controls = [item.name for item in suite.implementations if item.control]
    if len(controls) < CONTROLS:
        yield (
            f"{len(controls)} clean controls ({', '.join(controls) or 'none'}), {CONTROLS} are needed: one "
            "in float64, one with the closed form of the gradient"
        )
    if not suite.examples:
        yield "no worked example: one number from a text that every implementation must give"
    for item in suite.implementations:
        if item.known_bad and item.control:
            yield f"{item.name} is a clean control and known to be bad"
        if not item.about:
            yield f"{item.name} has no docstring: its first line says what it is"
    for regime in suite.regimes:
        if not regime.about:
            yield f"regime {regime.name} has no docstring: its first line says what its inputs are"


def _refers(suite: Suite) -> Iterator[str]:
    """Yields names in declarations that nothing has."""
    variants = [variant.name for variant in suite.variants]
    ladders = [f"ladder {ladder.name}" for ladder in suite.ladders]
    exhaustive = [f"exhaustive {each.name}" for each in suite.exhaustive]
    regimes = [regime.name for regime in suite.regimes]
    names: Mapping[str, list[str]] = {
        "kind": list(KINDS),
        "variant": variants,
        "regime": regimes,
        "dtype": list(DTYPES),
        "device": list(DEVICES),
        "probe": list(PROBES),
    }
    for item in suite.implementations:
        for entry in item.known:
            for axis, there in names.items():
                # Families share entries, so one that names something of this suite may name more.
                lost = list(_lost(f"{item.name}: Known({axis}=...)", getattr(entry, axis), there))
                yield from lost if len(lost) == len(getattr(entry, axis)) else ()
            climbed = [group for group in entry.group if group.startswith(("ladder ", "exhaustive "))]
            yield from _lost(f"{item.name}: Known(group=...)", climbed, [*ladders, *exhaustive])
            if entry.probe == ("identity",):
                identities = [identity.name for identity in suite.identities]
                yield from _lost(f"{item.name}: Known(group=...)", entry.group, identities)
        contract = item.contract
        yield from _lost(f"{item.name}: Contract(dtypes=...)", contract.dtypes or (), list(DTYPES))
        yield from _lost(f"{item.name}: Contract(variants=...)", contract.variants or (), variants)
        where = [*regimes, *ladders, *exhaustive]
        yield from _lost(f"{item.name}: Contract(except_regimes=...)", contract.except_regimes, where)
    for blind in suite.blind:
        for axis in ("variant", "regime", "dtype"):
            yield from _lost(f"Blind({axis}=...)", getattr(blind, axis), names[axis])
    makers = [item.name for item in suite.implementations]
    for example in suite.examples:
        yield from _lost(f"Example({example.source!r}, divergent=...)", example.divergent, makers)
    for identity in suite.identities:
        yield from _lost(f"Identity({identity.name!r}, regime=...)", (identity.regime,), regimes)
    if suite.shapes.slow_regime:
        # The default names a regime of classification, and is no promise where a suite has none of it.
        declared = suite.shapes.slow_regime != type(suite.shapes)().slow_regime
        yield from _lost("Shapes(slow_regime=...)", (suite.shapes.slow_regime,) if declared else (), regimes)


def _lost(call: str, patterns: Iterable[str], there: list[str]) -> Iterator[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in there):
            yield f"{call} names {pattern!r}, which does not exist"


def _reached(suite: Suite, plan: Plan) -> Iterator[str]:
    """Yields the variants, regimes, dtypes and implementations of which the quick profile asks nothing."""
    cases = [block.case for block in plan.blocks if any("accuracy" in p for p in block.probes.values())]
    for axis, declared, met in (
        ("variant", [v.name for v in suite.variants], {case.variant for case in cases}),
        ("regime", [r.name for r in suite.regimes], {case.regime for case in cases}),
        ("dtype", list(DTYPES), {case.dtype for case in cases}),
        (
            "implementation",
            [i.name for i in suite.implementations],
            {name for block in plan.blocks for name, asked in block.probes.items() if "accuracy" in asked},
        ),
    ):
        for name in declared:
            if name not in met:
                yield f"{axis} {name} is never asked for its accuracy by the quick profile"


def _drawn(suite: Suite, seed: int) -> Iterator[str]:
    """Yields variants and regimes whose draws are no function of the seed, or whose truth is not finite."""
    first = _draws(suite, seed, [(v.name, r.name) for v in suite.variants for r in suite.regimes])
    # In another order: a draw must not depend on those before it.
    again = _draws(suite, seed, list(reversed(first)))
    other = _draws(suite, seed + 1, [(suite.variants[0].name, suite.regimes[0].name)])
    for place, (sample, _) in first.items():
        if any(not same_bits(tensor, again[place][0][name]) for name, tensor in sample.named.items()):
            yield f"variant {place[0]}, regime {place[1]}: drawn twice from one seed, the bits differ"
    for place, (sample, _) in other.items():
        if all(same_bits(tensor, first[place][0][name]) for name, tensor in sample.named.items()):
            yield f"regime {place[1]}: two seeds give the same bits; draw from the generator"
    for (variant, regime), (sample, options) in first.items():
        where = f"variant {variant}, regime {regime}"
        inputs = {**sample.in_rows(), **element_options(sample, options)}
        truth = row_oracle(suite).evaluate(inputs, options, sample.gradients)
        usual = regime == suite.regimes[0].name
        yield from _unlike_inputs(where, sample, truth.losses, strict=usual)
        if usual:
            for name, gradient in truth.gradients.items():
                if not np.isfinite(gradient).all():
                    yield f"{where}: the truth of the gradient of {name} is not finite"


def _draws(
    suite: Suite, seed: int, places: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Sample, dict[str, object]]]:
    drawn = {}
    for variant, regime in places:
        shape = suite.regime(regime).shape(SMALL)
        case = Case(suite.name, variant, regime, DTYPE, "cpu", *shape, 1)
        drawn[variant, regime] = draw(case, suite, seed=seed)
    return drawn


def _unlike_inputs(
    where: str, sample: Sample, losses: np.ndarray[tuple[int, ...], np.dtype[np.float64]], *, strict: bool
) -> Iterator[str]:
    """Yields what is wrong with losses: `strict` asks for finite ones, else NaN needs inputs to blame."""
    if strict and not np.isfinite(losses).all():
        yield f"{where}: the truth is not finite in the first regime, where everything is ordinary"
    ordinary = np.ones(len(losses), dtype=bool)
    for tensor in sample.in_rows().values():
        if tensor.is_floating_point() and len(tensor) == len(losses):
            ordinary &= tensor.isfinite().reshape(len(tensor), -1).all(1).numpy()
    if np.isnan(losses[ordinary]).any():
        yield f"{where}: the truth is NaN in a row whose inputs are finite"


def _clean(suite: Suite, plan: Plan, seed: int) -> Iterator[str]:
    """Yields findings of clean controls in a share of the plan, spread over its whole length."""
    controls = {item.name for item in suite.implementations if item.control}
    usual = {suite.shapes.usual, *suite.shapes.covering}
    blocks = [
        block
        for block in plan.blocks
        if any(name in controls and "accuracy" in asked for name, asked in block.probes.items())
        and block.case.shape in {suite.regime(block.case.regime).shape(shape) for shape in usual}
    ]
    asked_of: set[str] = set()
    for block in blocks[:: max(1, len(blocks) // SHARE)]:
        opened = OpenBlock(suite, block.case, seed)
        for name in block.probes:
            if name in controls:
                asked_of.add(name)
                answer = accuracy(opened, name)
                counted = [finding for finding in answer.findings if finding.severity != "note"]
                if answer.status != "ok":
                    yield f"clean control {name} is {answer.status} in {block.case.id}: {answer.reason}"
                for finding in counted[:1]:
                    yield (
                        f"clean control {name} has the finding {finding.kind} in {block.case.id}: "
                        f"{finding.message}"
                    )
                if "vacuous" in answer.notes:
                    yield f"a check accepts a null answer in {block.case.id}: {answer.notes['vacuous']}"
    for name in sorted(controls - asked_of):
        yield f"clean control {name} is asked nothing in {SHARE} blocks over the quick plan"


def _held(suite: Suite, seed: int) -> Iterator[str]:
    """Yields identities that a clean control breaks, or that nobody takes in float32."""
    home = suite.regimes[0]
    case = Case(
        suite.name, suite.variants[0].name, home.name, DTYPE, "cpu", *home.shape(suite.shapes.usual), 1
    )
    block = OpenBlock(suite, case, seed)
    eager = [item for item in suite.implementations if not item.compiled and not item.known_bad]
    for identity in suite.identities:
        taken = False
        # The quickest way to a yes: controls and the baseline first.
        for item in sorted(eager, key=lambda item: (not item.control, not item.baseline)):
            if admission(suite, item, case) is not None or (taken and not item.control):
                continue
            found = holding(block, item.name, identity)
            taken |= not found.unsupported
            if item.control and found.finding is not None:
                yield f"clean control {item.name} breaks {identity.name}: {found.finding.message}"
        if not taken:
            yield f"identity {identity.name} is taken by no implementation in {DTYPE}"


def _excused(suite: Suite, plan: Plan, seed: int) -> Iterator[str]:
    """Yields the Blind entries in whose scope cases were judged and none of which excuses a check there.

    Looked for in the quick plan over some seeds, then in the cases of the full one that are not too large.
    """
    left, asked = list(suite.blind), set[Blind]()
    for seeds, full in ((SEEDS_OF_QUICK, False), (SEEDS_OF_FULL, True)):
        if not left:
            return
        if full:
            plan = planned(Sweep(devices=("cpu",), profile="full"), {suite.name: suite})
        for each in range(seed, seed + seeds):
            _strike_out(left, asked, suite, plan, each)
    for entry in left:
        if entry in asked:
            yield (
                f"Blind({entry.reason!r}) excuses no check of the quick plan, nor of the full one; remove it "
                "or narrow its scope"
            )


def _strike_out(left: list[Blind], asked: set[Blind], suite: Suite, plan: Plan, seed: int) -> None:
    """Takes the entries that excuse a check of the plan out of `left`; puts those it reaches into `asked`."""
    for block in plan.blocks:
        case = block.case
        facts = {"variant": case.variant, "regime": case.regime, "dtype": case.dtype}
        inside = {entry for entry in left if reaches(entry, facts)}
        if not inside or case.batch * case.classes > LARGEST_CASE:
            continue
        opened = OpenBlock(suite, case, seed)
        elsewhere = {entry for entry in inside if of_question(entry)}
        if elsewhere and any("protocol" in probes for probes in block.probes.values()):
            protocol(opened, suite.baseline.name)
            asked |= elsewhere
        if elsewhere and any("overflow" in probes for probes in block.probes.values()):
            overflow(opened, suite.baseline.name)
            asked |= elsewhere
        left[:] = [entry for entry in left if entry not in opened.excusing]
        inside -= elsewhere
        names = [name for name, probes in block.probes.items() if "accuracy" in probes]
        # One truth for each definition of the loss.
        stands = {id(stand): stand for stand in map(opened.standard, names)}.values()
        for stand in stands:
            asked |= inside
            met = set(covering(vacuous_checks(stand), suite.blind, facts))
            left[:] = [entry for entry in left if entry not in met]
        if not left:
            return


def main(references: list[str]) -> int:
    """Prints what suites (names, files, module:SUITE) owe and returns 1 if any of them owes something.

    What cannot be found or loaded is one sentence on stderr and the exit code of its error.
    """
    from harness.discovery import Selection, discover

    owed = False
    try:
        suites = discover(Selection(suites=tuple(references), known_bad=True)).suites
    except HarnessError as error:
        sys.stderr.write(f"conformance: {error}\n")
        return error.exit_code
    for name, suite in suites.items():
        found = departures(suite)
        owed |= bool(found)
        sys.stdout.write("".join(f"{name}: {sentence}\n" for sentence in found) or f"{name}: conforms\n")
    return int(owed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
