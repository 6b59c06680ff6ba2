"""A run as one HTML file that opens offline by double click, sections in the order of decisions.

Text from plug-ins is escaped by the template engine and loses its URL schemes, the one script is
named by its hash in the content security policy, nothing is loaded. With several suites every section
is folded by suite: a line that stays visible, its tables behind it, open when the suites are few. The
trap: figures are the dearest part, so for more than six suites only those with most timed trials get
one, and it is said.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup, escape

from harness import units
from harness.run import Run
from reports import bits, breaks, costs, data, findings, identities, method, nulls, sections, usual, verdict
from reports.curves import MEMORY, THROUGHPUT, TIME, over_classes
from reports.declared import Declared
from reports.figures import Drawing, picture
from reports.look import Contents, Look, fitted
from reports.manners import manners
from reports.matrix import matrices
from reports.panels import colour_name, glyph
from reports.ranking import Group, Standing
from reports.records import Record, exhaustive_names
from reports.speed import Choice
from reports.table import GLYPHS, Part, Table

_MOST_FIGURES = 6
# Over all suites, but of each at least so many.
_MOST_FINDINGS, _LEAST_FINDINGS = 200, 20
_SCHEME = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class SuiteView:
    """What the page shows of one suite: key of its implementations, figures and tables."""

    name: str
    key: tuple[tuple[int, str, str, str, str], ...]
    picture: Drawing | None
    curves: Drawing | None
    memory_curves: Drawing | None
    speed: Table | None
    memory: Table | None


def page(
    run: Run,
    rows: Sequence[Record],
    ranks: Mapping[Group, Standing],
    found: Sequence[Choice],
    look: Look = Look(),  # noqa: B008 - frozen
) -> tuple[str, str]:
    """Returns the report of a run as HTML, and the sentence on what it had to leave out, "" for nothing."""
    declared = Declared(run.manifest)
    members = _members(rows)
    suites = _suites(members, found, declared)
    drawn = sum(view.picture is not None for view in suites)
    timed = sum(view.speed is not None for view in suites)
    distinct = findings.distinct(rows)
    script = _source("table.js")
    sample = data.sample(rows) if rows else None
    block = data.block(rows) if look.block else ""
    template = _templates().get_template("report.html.j2")
    context: dict[str, Any] = dict(  # noqa: C408 - keywords read like the call they are for
        title=look.title or f"lossgauge {declared.text('name') or run.path.name}",
        heading=look.title,
        sentence=verdict.sentence(rows, ranks, found),
        facts=verdict.facts(run),
        command=declared.text("command"),
        counts=verdict.counts(rows),
        total=len(rows),
        alarms=verdict.alarms(run, rows, ranks),
        overview=sections.overview(found),
        which_one=sections.which_one(found) if rows else [],
        which_means=sections.meaning(found),
        folding=len(members) > 1,
        few=len(members) <= sections.FEW,
        suites=suites,
        undrawn=_undrawn(drawn, timed),
        matrices=matrices(rows, declared),
        manners=manners(members, declared),
        identities=identities.identities(members, declared),
        broken=identities.broken(members, declared),
        same_bits=_parts(members, bits.words, lambda rows: (bits.same_bits(rows, declared),)),
        breaks=_parts(
            members,
            breaks.words,
            lambda rows: (breaks.breaks(rows, declared), breaks.exhaustive(rows, declared)),
        ),
        exhausted=bool(exhaustive_names(rows)),
        usual=_parts(members, usual.words, lambda rows: (usual.usual_error(rows),)),
        compilation=_parts(members, costs.compilation_words, lambda rows: (costs.compilation(rows),)),
        findings=_findings(distinct, list(members)),
        findings_mean=findings.NOTE,
        limits=[*method.limits(declared, rows), *nulls.sentences(rows)],
        left_out_of_run=method.left_out(declared),
        method=[*nulls.tables(rows), *method.tables(declared, rows)],
        script=Markup(script),
        style=Markup(_source("style.css")),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip

    def write(contents: Contents, left_out: str) -> str:
        shown = sample if contents.rows or sample is None else sample.emptied(data.count_of(rows))
        return template.render(
            **context,
            sample=shown,
            block=Markup(block) if contents.block else "",
            left_out=left_out,
        )

    return fitted(look, write)


def _undrawn(drawn: int, timed: int) -> str:
    if drawn >= timed:
        return ""
    suites = units.counted(timed, "timed suite")
    return f"Drawn for {units.count(drawn)} of {suites}, those with most timed trials; the tables hold all."


def _members(rows: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the records of each suite, in the order of the plan."""
    found: dict[str, list[Record]] = {}
    for row in rows:
        found.setdefault(row.trial.case.suite, []).append(row)
    return found


def _parts(
    members: Mapping[str, Sequence[Record]],
    words: Callable[[Sequence[Record]], str],
    tables: Callable[[Sequence[Record]], Iterable[Table | None]],
) -> list[Part]:
    """Returns what a section says of each suite of which it has a table."""
    made = ((suite, rows, tuple(table for table in tables(rows) if table)) for suite, rows in members.items())
    return [Part(suite, words(rows), found) for suite, rows, found in made if found]


def _findings(found: Sequence[findings.Distinct], suites: Sequence[str]) -> list[Part]:
    by_suite = findings.by_suite(found, suites)
    most = max(_LEAST_FINDINGS, _MOST_FINDINGS // max(1, len(by_suite)))
    made = ((suite, items, findings.findings_table(items, most, suite=suite)) for suite, items in by_suite)
    return [Part(suite, findings.words(items), (table,)) for suite, items, table in made if table]


def _suites(
    by_suite: Mapping[str, Sequence[Record]], found: Sequence[Choice], declared: Declared
) -> list[SuiteView]:
    timed = {name: sum("seconds" in row.numbers for row in members) for name, members in by_suite.items()}
    drawn = sorted(by_suite, key=lambda name: -timed[name])[:_MOST_FIGURES]
    return [
        _suite(name, members, [c for c in found if c.suite == name], declared, name in drawn)
        for name, members in by_suite.items()
    ]


def _suite(
    name: str, rows: Sequence[Record], found: Sequence[Choice], declared: Declared, drawn: bool
) -> SuiteView:
    makers = {row.maker.name: row.maker for row in rows}
    key = tuple(
        (
            maker.place,
            maker.name,
            "clean control" if maker.control else "known to be bad" if maker.known_bad else "baseline"
            if maker.baseline else "",
            colour_name(maker.place),
            glyph(maker.place),
        )
        for maker in sorted(makers.values(), key=lambda m: m.place)
    )  # fmt: skip
    return SuiteView(
        name,
        key,
        picture(name, found) if drawn else None,
        over_classes(name, rows, (TIME, THROUGHPUT), "time") if drawn else None,
        over_classes(name, rows, (MEMORY,), "memory") if drawn else None,
        costs.speed(found, name),
        costs.memory(rows, name),
    )


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_without_scheme,
    )
    environment.globals["glyphs"] = GLYPHS
    environment.filters["count"] = units.count
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(text: str) -> Markup:
    """Returns text as markup that a narrow place may break after underscores, where names have their joints.

    A browser knows no such joints and would break inside a word; what is copied holds no break.
    """
    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def _without_scheme(value: Any) -> Any:
    """Takes the scheme off URLs in text: the page must neither load nor suggest that it loads one."""
    if isinstance(value, str) and "://" in value:
        return type(value)(_SCHEME.sub("", value))
    return value


def _source(name: str) -> str:
    environment = _templates()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
