"""Method and limits: how the numbers came about, with what, and what was not asked.

Everything here is read from the manifest; a part that the manifest lacks is left out. The trap: a
limit that is not printed reads as a guarantee, so what was left out is listed before the glossary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness import units
from harness.outcome import KINDS
from reports.declared import Declared
from reports.frame import UNLISTED, meanings
from reports.ranking import cell_word
from reports.records import Record, exhaustive_names
from reports.table import Cell, Table, cells

_WORDS = (
    ("suite", "a loss family: one definition, many implementations"),
    ("implementation", "a callable under test"),
    ("oracle", "the high-precision truth for value and gradient"),
    ("baseline", "the implementation that ratios are taken against"),
    ("clean control", "an implementation that must have no finding; if it has one, the harness is suspect"),
    ("variant", "a set of loss options"),
    ("regime", "an input distribution"),
    ("case", "variant × regime × dtype × device × batch × classes × threads"),
    ("trial", "a case and an implementation"),
    ("finding", "a named defect with a witness that reproduces it"),
    ("known", "a finding that the suite lists with its reason; shown, and never a surprise"),
    ("ulp", "distance to the exact value in units of the last place of the dtype at that value"),
    ("u N", "what one rounding of the inputs may change of the answer; a few u N are as good as they allow"),
    ("near 0", "more ulp than the dtype has digits, and no bound broken: the inputs' rounding decides there"),
    ("another definition", "a Contract declares other options than the baseline's: no replacement for it"),
    ("identity", "two ways to say the same number, each within its own error bound"),
    ("worst error", "the largest found, hence a lower bound of the largest there is"),
    ("exact count", "over every finite value of a 16-bit dtype, so nothing is left to be found"),
    ("tier", "how a truth was computed: B0 float64, B1 pairs of float64, B2 an Arb ball, which is a proof"),
    ("rankable", "accuracy, protocol and overflow answered, no error anywhere on the declared domain"),
    ("unproven", "accuracy, protocol or overflow has no answer, so nothing is recommended"),
    ("not shown to differ", "the intervals overlap or hold 1; it does not say that the two are equal"),
)


def limits(declared: Declared, rows: Sequence[Record] = ()) -> list[str]:
    """Returns the sentences on method."""
    sentences = declared.sentences("method")
    if exhaustive_names(rows):
        sentences.append(
            "Counts over every value of a 16-bit dtype are exact; all other errors and first failures are "
            "what was found on the inputs listed."
        )
    bandwidth = declared.number("copy_bandwidth_bytes_per_second")
    if bandwidth is not None:
        sentences.append(
            f"This machine copies {units.bandwidth(bandwidth)}; shares of bandwidth are of that."
        )
    return sentences


def left_out(declared: Declared) -> list[str]:
    """Returns the sentences on what was not asked, by the profile or for want of a device."""
    sentences = [f"Left out: {item}" for item in declared.sentences("left_out")]
    return [
        *sentences,
        *(f"Skipped {axis} {value}: {reason}" for axis, value, reason in declared.skipped_axes),
    ]


def tables(declared: Declared, rows: Sequence[Record] = ()) -> list[Table]:
    """Returns the tables of this section that have content.

    Number columns that this version has no words for are listed too, and so are kinds of findings.
    """
    kinds = dict.fromkeys(found.kind for row in rows for found in row.findings)
    found = [
        _environment(declared),
        _configuration(declared),
        _suites(declared),
        _tiers(declared),
        _questions(declared),
        Table("Findings, and what each word means", ("word", "meaning"), [
            *(cells(kind.cell, f"{name}: {kind.sentence}") for name, kind in KINDS.items()),
            *(cells(cell_word(name), f"{name}: {UNLISTED}") for name in kinds if name not in KINDS),
        ]),
        Table("Quantities in results.csv", ("column", "meaning"), [
            cells(name, meaning) for name, meaning in meanings(rows)
        ]),
        Table("Glossary", ("word", "meaning"), [cells(*pair) for pair in _WORDS]),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _environment(declared: Declared) -> Table:
    rows = [
        cells(name, _said(value), part)
        for part, form in declared.environment.items()
        for name, value in form.items()
    ]
    return Table("Environment", ("fact", "value", "part of"), rows)


def _configuration(declared: Declared) -> Table:
    rows = []
    for key, entry in declared.mapping("config").items():
        if isinstance(entry, Mapping):
            rows.append(cells(key, _said(entry.get("value")), _said(entry.get("source"))))
        else:
            rows.append(cells(key, _said(entry), ""))
    return Table("Effective configuration and where each value came from", ("key", "value", "source"), rows)


def _suites(declared: Declared) -> Table:
    rows = [
        cells(
            Cell(family.name, "", family.formula),
            family.oracle,
            Cell(units.count(len(family.regimes)), "", _pairs(family.regimes)),
            Cell(units.count(len(family.variants)), "", _pairs(family.variants)),
        )
        for family in declared.families.values()
    ]
    return Table("Suites", ("suite", "oracle", "regimes", "variants"), rows)


def _tiers(declared: Declared) -> Table:
    rows = []
    for family in declared.families.values():
        for place, tier in enumerate(family.tiers):
            rounding = tier.get("rounding")
            bound = "none stated"
            if isinstance(rounding, int | float) and rounding > 0:
                bound = f"2^{math.log2(rounding):.4g} N + {units.number(float(tier.get('floor') or 0))}"
            rows.append(
                cells(
                    family.name if place == 0 else "",
                    str(tier.get("tier", "")),
                    _said(tier.get("dtypes")) or "findings of every dtype",
                    str(tier.get("about", "")),
                    bound if tier.get("tier") != "B2" else "the radius printed with each finding",
                )
            )
    return Table(
        "Oracle tiers, what each judged, and its stated bound",
        ("suite", "tier", "judges", "how", "|oracle - exact| at most"),
        rows,
        note="N is the sensitivity that also multiplies u in the strict rule, + the floor where results "
        "underflow; the judge grants this much to everybody. Bounds are stated by the suite and put to "
        "the test against Arb on random rows.",
    )


def _questions(declared: Declared) -> Table:
    rows = [
        cells(
            str(item.get("name", "")),
            str(item.get("kind", "")).replace("_", " "),
            "may refuse" if item.get("refusable") else "",
            "by the full profile only" if item.get("recompiles") else "",
        )
        for item in declared.items("questions")
    ]
    return Table(
        "Protocol questions, all that there are",
        ("question", "finding when wrong", "implementations", "compiled forms are asked"),
        rows,
        note="Which of them apply depends on variant, dtype and inputs; the table of the section says how "
        "many were asked.",
    )


def _pairs(words: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {about}" if about else name for name, about in words.items())


def _said(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
