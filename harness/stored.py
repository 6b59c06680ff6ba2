"""What the files of a run directory may hold, key by key, so that damage is told by its key.

A form is a `Leaf` (types of JSON, and a test of the value), `Many` of one form (a list), `Table` of one form
(an object with any keys), `Fields` (an object whose known keys have a form each) or `Either` of two forms.
`damage` compares a value with a form and names the first place where they part. The trap: a key that lacks is
no damage here, since runs of older versions lack some, and a key that is unknown is none either, since newer
ones have more; what a reader cannot do without it asks for itself (`harness.run.stated`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.results import QUANTITIES, TIMES

_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True)
class Leaf:
    """A value without parts: of these types, and passing `holds`; `words` says what is allowed."""

    words: str
    types: frozenset[type]
    holds: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Many:
    """A list whose entries have one form; `length` is how many there are, None for any number."""

    each: Form
    length: int | None = None


@dataclass(frozen=True)
class Table:
    """An object whose values have one form, whatever their keys."""

    each: Form


@dataclass(frozen=True)
class Fields:
    """An object whose known keys have a form each; a key may lack, and others may be there.

    `others` is the form of the others, None for any; `needed` are the known keys that may not lack.
    """

    known: Mapping[str, Form] = field(default_factory=dict)
    others: Form | None = None
    needed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Either:
    """A leaf or, where the value is of none of its types, another form."""

    leaf: Leaf
    form: Form


Form = Leaf | Many | Table | Fields | Either


def damage(value: Any, form: Form, place: str = "") -> str:
    """Returns the first place where a value parts from a form, in words, "" where it does not.

    E.g. "'plan.blocks[0].case' (it is null; allowed: text)"; a value that is wrong as a whole has no place.
    """
    return "" if _fits(value, form) else next(_damages(value, form, place), "")


def _fits(value: Any, form: Form) -> bool:
    """Tells whether a value is of a form, without saying where it is not, which costs more."""
    if isinstance(form, Leaf):
        return type(value) in form.types and (form.holds is None or form.holds(value))
    if isinstance(form, Either):
        return _fits(value, form.leaf if type(value) in form.leaf.types else form.form)
    if isinstance(form, Many):
        whole = type(value) is list and form.length in (None, len(value))
        return whole and all(_fits(item, form.each) for item in value)
    if type(value) is not dict:
        return False
    if isinstance(form, Table):
        each = form.each
        return all(_fits(item, each) for item in value.values())
    known, others = form.known, form.others
    for key, item in value.items():
        inner = known.get(key, others)
        if inner is not None and not _fits(item, inner):
            return False
    return all(key in value for key in form.needed)


def _damages(value: Any, form: Form, place: str) -> Iterator[str]:
    if isinstance(form, Either):
        yield from _damages(value, form.leaf if type(value) in form.leaf.types else form.form, place)
    elif isinstance(form, Leaf):
        if type(value) not in form.types or (form.holds is not None and not form.holds(value)):
            yield _told(value, place, form.words)
    elif isinstance(form, Many):
        if type(value) is not list:
            yield _told(value, place, _NAMES[list])
            return
        if form.length not in (None, len(value)):
            yield _told(value, place, f"{_NAMES[list]} of {form.length}")
        for index, item in enumerate(value):
            yield from _damages(item, form.each, f"{place}[{index}]")
    elif type(value) is not dict:
        yield _told(value, place, _NAMES[dict])
    else:
        lacks = form.needed if isinstance(form, Fields) else ()
        yield from (f"{_path(place, key)!r} (it is missing)" for key in lacks if key not in value)
        for key, item in value.items():
            inner = form.each if isinstance(form, Table) else form.known.get(key, form.others)
            if inner is not None:
                yield from _damages(item, inner, _path(place, key))


def _path(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _told(value: Any, place: str, allowed: str) -> str:
    got = _NAMES.get(type(value), type(value).__name__)
    # A type that is allowed and a value that is not: the value says what is wrong.
    got = repr(value)[:60] if got in allowed or (isinstance(value, str) and allowed != "text") else got
    return f"{repr(place) if place else 'everything'} (it is {got}; allowed: {allowed})"


def _leaf(*types: type, holds: Callable[[Any], bool] | None = None, words: str = "") -> Leaf:
    return Leaf(words or " or ".join(_NAMES[each] for each in types), frozenset(types), holds)


def _or_null(form: Form) -> Either:
    return Either(_leaf(type(None)), form)


def _finite(value: int | float) -> bool:
    """Tells whether a number is one that arithmetic in float64 takes; JSON knows no largest integer."""
    return -sys.float_info.max <= value <= sys.float_info.max


_CASE = re.compile(r"([^/]+/){3}\w+-\w+-b\d+-c\d+-t\d+")
TEXT, TRUTH = _leaf(str), _leaf(bool)
POSITIVE = _leaf(int, holds=lambda value: 0 < value < 2**63, words="a whole number from 1 on")
COUNT = _leaf(int, holds=lambda value: 0 <= value < 2**63, words="a whole number from 0 on")
WHOLE = _leaf(int)
NUMBER = _leaf(int, float, holds=_finite, words="a finite number")
# Which words are numbers is for `harness.results` to say.
MEASURED = Either(TEXT, NUMBER)
ANYTHING = _leaf(*_NAMES, words="anything")
FACT = _leaf(str, int, float, bool, type(None), words="text or a number")
CASE = _leaf(
    str,
    holds=lambda text: _CASE.fullmatch(text) is not None,
    words="suite/variant/regime/dtype-device-bB-cC-tT",
)
TEXTS = Many(TEXT)
AXES: Mapping[str, Form] = {
    **dict.fromkeys(("suite", "variant", "regime", "dtype", "device", "implementation"), TEXT),
    **dict.fromkeys(("batch", "classes", "threads"), COUNT),
}
BALL = Fields({**dict.fromkeys(("kind", "tier", "middle", "tail", "radius"), TEXT), "precision": COUNT})
FINDING = Fields(
    {
        **dict.fromkeys(("kind", "severity", "probe", "group", "message", "known"), TEXT),
        "witness": Fields(
            {
                **dict.fromkeys(("tensor", "question", "ladder", "value", "dtype", "truth", "got"), TEXT),
                "place": Many(COUNT),
                TIMES: NUMBER,
                "shared": TRUTH,
                "ball": Either(TEXT, BALL),
            }
        ),
        "outside": TRUTH,
    }
)
RESULT = Fields(
    {
        **AXES,
        **dict.fromkeys(("trial", "probe", "status", "reason", "key"), TEXT),
        "attempt": COUNT,
        "findings": Many(FINDING),
        "numbers": Fields({each.name: NUMBER for each in QUANTITIES if each.unit == "count"}, MEASURED),
        "notes": Table(TEXT),
        "spent_seconds": NUMBER,
    }
)
SAMPLE = Fields(
    {
        **dict.fromkeys(("trial", "pass", "complete", "key"), TEXT),
        **dict.fromkeys(("process", "round", "place"), COUNT),
        "loops": POSITIVE,
        **dict.fromkeys(("wall_seconds", "cpu_seconds"), NUMBER),
        "stopped": Fields({"reason": TEXT, "traffic_bytes": NUMBER}),
        "failed": Table(Many(TEXT, 2)),
        "findings": Table(Many(FINDING)),
    }
)
SELECTION = Fields({"suites": TEXTS, "implementations": TEXTS, "inputs": TEXT, "known_bad": TRUTH})
IMPLEMENTATION = Fields(
    {
        **dict.fromkeys(("about", "known_bad"), TEXT),
        **dict.fromkeys(("baseline", "control", "compiled"), TRUTH),
        "definition": Table(TEXT),
        "known": Many(Fields({"reason": TEXT, "upstream": TEXT})),
    }
)
SUITE = Fields(
    {
        **dict.fromkeys(("formula", "oracle"), TEXT),
        **dict.fromkeys(
            ("options", "variants", "regimes", "ladders", "exhaustive", "identities"), Table(TEXT)
        ),
        "tiers": Many(
            Fields(
                {
                    **dict.fromkeys(("tier", "about"), TEXT),
                    "dtypes": TEXTS,
                    **dict.fromkeys(("rounding", "floor"), _or_null(NUMBER)),
                }
            )
        ),
        "implementations": Table(IMPLEMENTATION),
    }
)
BLOCK = Fields({**AXES, "case": CASE, "probes": Table(TEXTS)}, needed=("case",))
# A setting of the configuration that lists names; of the others only the source is looked at.
NAMED = Fields({"value": _or_null(TEXTS), "source": TEXT})
MANIFEST = Fields(
    {
        **dict.fromkeys(("name", "lossgauge", "command", "profile", "started"), TEXT),
        **dict.fromkeys(("left_out", "broken_suites", "stale_known", "method"), TEXTS),
        **dict.fromkeys(("wall_seconds", "copy_bandwidth_bytes_per_second"), _or_null(NUMBER)),
        "schema": WHOLE,
        "seed": WHOLE,
        "finished": _or_null(TEXT),
        "environment": Table(Table(FACT)),
        "config": Fields({"suite": NAMED, "impl": NAMED}, others=Fields({"source": TEXT})),
        "selection": _or_null(SELECTION),
        "plan": Fields({"hash": TEXT, "blocks": Many(BLOCK)}),
        "coverage": Table(NUMBER),
        "skipped_axes": Many(Table(TEXT)),
        "suites": Table(SUITE),
        "questions": Many(Fields({"name": TEXT, "kind": TEXT, "refusable": TRUTH, "recompiles": TRUTH})),
        "spent_seconds": _or_null(Table(Table(NUMBER))),
    }
)
