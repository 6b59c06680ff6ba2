"""One page per suite out of its own declarations: what it is, what it asks, what is known of it.

Nothing here is written twice: formula, contracts, regimes, implementations, known findings, ladders,
examples and identities are read off the constant `SUITE`, and so is the table of all suites (`counts`).
The trap: text in a declaration may hold a pipe, so tables go through `harness.cli.rows`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.cli.rows import table
from harness.implementation import Above, Implementation, Known
from harness.oracle.closed_form import ClosedForm
from harness.standard import row_oracle
from harness.suite import Example, Suite
from harness.units import counted


def described(suite: Suite) -> str:
    """Returns the page of a suite as Markdown."""
    return "\n".join(_lines(suite)).rstrip() + "\n"


def _lines(suite: Suite) -> Iterator[str]:
    yield f"# {suite.name}\n"
    if suite.formula:
        yield f"`{suite.formula}`\n"
    oracle = row_oracle(suite)
    bounds = ""
    if isinstance(suite.oracle, ClosedForm):
        form = suite.oracle
        bounds = ", ".join(f"{tier} within {form.rounding(tier):.2g} N" for tier in form.tiers())
    yield f"Oracle: {oracle.label}{f' ({bounds})' if bounds else ''}.\n"
    yield from _section(
        "Options", ("option", "neutral value"), [(name, _value(v)) for name, v in suite.options.items()]
    )
    yield from _section(
        "Variants",
        ("variant", "options", "sample"),
        [(v.name, _options(v.options), _about(v.adapt)) for v in suite.variants],
    )
    yield from _section(
        "Regimes",
        ("regime", "inputs", "fixes"),
        [
            (r.name, _needing(r.about, r.needs), _fixed({"batch": r.batch, "classes": r.classes}))
            for r in suite.regimes
        ],
    )
    yield from _section(
        "Shapes",
        ("asked for", "batch x classes"),
        [
            (words, ", ".join(f"{shape.batch} x {shape.classes}" for shape in shapes))
            for words, shapes in (
                ("every question", (suite.shapes.usual,)),
                ("accuracy over a covering set", suite.shapes.covering),
                ("time and memory", suite.shapes.timed),
            )
            if shapes
        ],
    )
    yield from _section(
        "Ladders and exhaustive questions",
        ("name", "climbs or counts", "question"),
        [(item.name, item.names, item.question.replace("_", " ")) for item in suite.ladders]
        + [(item.name, item.names, "every finite 16-bit value") for item in suite.exhaustive],
    )
    yield from _section(
        "Inputs to be refused", ("name", "what it is"), [(i.name, i.about) for i in suite.invalid]
    )
    yield from _section(
        "Implementations",
        ("implementation", "what it is", "declared domain"),
        [(i.name, marked(i), _domain(i)) for i in suite.implementations],
    )
    yield from _section("Known findings", ("where", "kind", "in", "reason"), list(_known(suite)))
    yield from _section(
        "Known to be bad",
        ("implementation", "what to write instead"),
        [(i.name, i.known_bad) for i in suite.implementations if i.known_bad],
    )
    yield from _section(
        "Checks that cannot tell a null answer",
        ("check", "in", "reason"),
        [
            (", ".join(b.check) or "all", _scope(b, ("null", "variant", "regime", "dtype")), b.reason)
            for b in suite.blind
        ],
    )
    yield from _section(
        "Worked examples",
        ("value", "variant", "dtype", "source", "note"),
        [(f"{e.value:.{e.digits}f}", _asked(e), e.dtype, e.source, _notes(e)) for e in suite.examples],
    )
    yield from _section(
        "Identities",
        ("identity", "says", "variant", "regime", "source"),
        [(i.name, i.about, i.variant, i.regime, i.source) for i in suite.identities],
    )
    yield "## Ask it\n"
    yield f"""```
lossgauge run --suite {suite.name}
lossgauge list --describe {suite.name}
python -m harness.cli.certify --suite {suite.name}
```
"""


HEADS = (
    "suite",
    "implementations",
    "clean controls",
    "compiled",
    "known bad",
    "variants",
    "regimes",
    "ladders",
    "exhaustive",
    "refusals",
    "identities",
    "examples",
    "known findings",
)


def counts(suite: Suite) -> tuple[int, ...]:
    """Returns how many of everything a suite declares, in the order of HEADS after the name.

    `implementations` are those of an ordinary run: those that are known to be bad stand apart.
    """
    asked = [item for item in suite.implementations if not item.known_bad]
    return (
        len(asked),
        sum(item.control for item in asked),
        sum(item.compiled for item in asked),
        len(suite.implementations) - len(asked),
        len(suite.variants),
        len(suite.regimes),
        len(suite.ladders),
        len(suite.exhaustive),
        len(suite.invalid),
        len(suite.identities),
        len(suite.examples),
        len(list(_known(suite))),
    )


def _section(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield f"## {title} ({counted(len(rows), 'entry', 'entries')})\n"
        yield table("md", heads, rows) + "\n"


def marked(item: Implementation) -> str:
    """Returns what an implementation is, with its marks in brackets."""
    marks = [
        word
        for word, holds in (
            ("baseline", item.baseline),
            ("clean control", item.control),
            ("compiled", item.compiled),
            ("known bad", bool(item.known_bad)),
        )
        if holds
    ]
    return item.about + (f"  [{', '.join(marks)}]" if marks else "")


def _known(suite: Suite) -> Iterator[tuple[str, ...]]:
    """Yields each entry once, with the implementations that share it."""
    holders: dict[Known, list[str]] = {}
    for item in suite.implementations:
        for entry in item.known:
            holders.setdefault(entry, []).append(item.name)
    for entry, names in holders.items():
        upstream = f" ({entry.upstream})" if entry.upstream else ""
        scope = _scope(entry, ("probe", "variant", "regime", "dtype", "device", "group"))
        if entry.torch:
            scope += f" under torch {entry.torch}"
        outside = "; outside of what is promised" if entry.outside else ""
        size = "of any size" if entry.up_to == Known.ANY_SIZE else f"up to {entry.up_to:g} error bounds"
        yield (
            ", ".join(names),
            ", ".join(entry.kind),
            f"{scope}; {size}",
            f"{entry.reason}{upstream}{outside}",
        )


def _scope(entry: object, names: tuple[str, ...]) -> str:
    parts = [f"{name} {', '.join(getattr(entry, name))}" for name in names if getattr(entry, name)]
    return "; ".join(parts) or "everywhere"


def _domain(item: Implementation) -> str:
    contract = item.contract
    parts = [
        f"{name} {', '.join(values)}"
        for name, values in (
            ("dtypes", contract.dtypes),
            ("variants", contract.variants),
            ("devices", contract.devices),
            ("not", contract.except_regimes),
        )
        if values
    ]
    if contract.result_dtype is not None:
        parts.append(f"the loss in {contract.result_dtype}")
    parts += [f"{name} = {_value(value)}" for name, value in contract.definition.items()]
    if isinstance(item.skip, Above):
        limits = {"batch": item.skip.batch, "classes": item.skip.classes}
        parts.append(f"not above {_fixed(limits)}")
    elif item.skip is not None:
        parts.append("skips some shapes")
    return "; ".join(parts) or "everything"


def _needing(about: str, options: Sequence[str]) -> str:
    return f"{about} Needs {', '.join(options)}." if options else about


def _asked(example: Example) -> str:
    """Returns the variant of an example, with the options that it puts on top of it."""
    return f"{example.variant}, {_options(example.options)}" if example.options else example.variant


def _notes(example: Example) -> str:
    """Returns what is to be known of an example: its tolerance, its note and who does not give it."""
    parts = [] if example.tolerance is None else [f"within {example.tolerance:g}"]
    parts += [example.note] if example.note else []
    parts += [f"not {name}: {reason}" for name, reason in example.divergent.items()]
    return "; ".join(parts)


def _fixed(axes: Mapping[str, int | None]) -> str:
    return ", ".join(f"{name} {value}" for name, value in axes.items() if value is not None)


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in options.items())


def _value(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__) if callable(value) else repr(value)


def _about(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0] if function is not None else ""
