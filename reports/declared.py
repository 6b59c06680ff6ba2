"""The manifest read defensively: what was declared and planned, with every key possibly absent.

A report must be possible for a run that was killed in its first second and for one written by an
older version, so a missing key is an empty value and never a KeyError. The trap: text in here
(reasons, upstream links, about lines) comes from plug-ins and is never markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.trial import Trial, parse_trial

_COMMIT = ("git", "commit", "git_commit", "revision", "git_revision")
_DEVICES = (
    ("cpu", "cpu_model", "cpu_name", "processor", "machine"),
    ("cuda", "gpu", "gpu_name", "mps", "xpu"),
)
_OPTION = re.compile(r"(?:^|, )(\w+)=(.*?)(?=, \w+=|$)")
_REDUCTION = re.compile(r"\breduction='?(\w+)")


@dataclass(frozen=True)
class Maker:
    """What a suite declares of one implementation; `place` is its number within the suite, from 1."""

    name: str
    place: int
    about: str = ""
    baseline: bool = False
    control: bool = False
    known_bad: str = ""
    compiled: bool = False
    known: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    climbed: bool = True  # False when its suite declares that there is no ladder to climb
    definitions: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def recommendable(self) -> bool:
        """Whether it may be recommended at all: neither a clean control nor known to be bad."""
        return not self.control and not self.known_bad

    def definition(self, variant: str) -> str:
        """Returns how its definition of a variant differs from the baseline's, "" where it does not.

        E.g. "reduction sum, not mean". What answers another question replaces nothing.
        """
        return self.definitions.get(variant, self.definitions.get("", ""))


@dataclass(frozen=True)
class Family:
    """What the manifest says of one suite."""

    name: str
    formula: str
    oracle: str
    variants: Mapping[str, str]
    regimes: Mapping[str, str]
    ladders: Mapping[str, str]
    makers: Mapping[str, Maker]
    exhaustive: Mapping[str, str] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)
    tiers: tuple[Mapping[str, Any], ...] = ()
    reductions: Mapping[str, str] = field(default_factory=dict)

    def reduction(self, variant: str) -> str:
        """Returns the reduction that a variant asks for; the variant's name where it is not declared."""
        return self.reductions.get(variant, variant)


@dataclass(frozen=True)
class Declared:
    """Typed access to a manifest."""

    manifest: Mapping[str, Any]

    @cached_property
    def families(self) -> dict[str, Family]:
        """The declared suites by name."""
        return {name: _family(name, _mapping(form)) for name, form in self.mapping("suites").items()}

    def maker(self, suite: str, name: str) -> Maker:
        """Returns what is declared of an implementation; a bare Maker for an undeclared one."""
        family = self.families.get(suite)
        found = family.makers.get(name) if family else None
        return found or Maker(name, 0)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Returns a mapping of the manifest, empty when absent."""
        return _mapping(self.manifest.get(key))

    def sentences(self, key: str) -> list[str]:
        """Returns a list of sentences of the manifest, empty when absent."""
        return [str(item) for item in _sequence(self.manifest.get(key))]

    def items(self, key: str) -> list[Mapping[str, Any]]:
        """Returns a list of mappings of the manifest, empty when absent."""
        return [_mapping(item) for item in _sequence(self.manifest.get(key))]

    def text(self, key: str) -> str:
        """Returns a scalar or a list of words of the manifest as text, "" when absent or null."""
        value = self.manifest.get(key)
        if isinstance(value, list | tuple):
            return " ".join(map(str, value))
        return "" if value is None else str(value)

    def number(self, key: str) -> float | None:
        """Returns a number of the manifest, None when absent."""
        value = self.manifest.get(key)
        return float(value) if isinstance(value, int | float) else None

    @property
    def skipped_axes(self) -> list[tuple[str, str, str]]:
        """Axis, value and reason of everything that was asked for and left out."""
        return [
            tuple(str(_mapping(item).get(key, "")) for key in ("axis", "value", "reason"))  # type: ignore[misc]
            for item in _sequence(self.manifest.get("skipped_axes"))
        ]

    @property
    def environment(self) -> dict[str, Mapping[str, Any]]:
        """The parts of the environment (identity, context), each a flat mapping."""
        return {part: _mapping(form) for part, form in self.mapping("environment").items()}

    def fact(self, *names: str) -> str:
        """Returns the first environment fact of these names that is set, "" when none is."""
        for name in names:
            for part in self.environment.values():
                if part.get(name) not in (None, ""):
                    return str(part[name])
        return ""

    @property
    def commit(self) -> str:
        """The commit that was measured, "" when unknown."""
        return self.fact(*_COMMIT)

    @property
    def device(self) -> str:
        """The names of the machine's processor and accelerator, "" when unknown."""
        return ", ".join(filter(None, (self.fact(*names) for names in _DEVICES)))

    def planned(self) -> Iterator[tuple[Trial, tuple[str, ...]]]:
        """Yields every planned trial with its probes; raises UsageError for a garbled case id."""
        for block in _sequence(self.mapping("plan").get("blocks")):
            case = None
            for implementation, probes in _mapping(_mapping(block).get("probes")).items():
                if case is None:
                    case = parse_trial(f"{block['case']}/{implementation}").case
                yield Trial(case, implementation), tuple(str(probe) for probe in probes)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _words(value: object) -> dict[str, str]:
    return {str(key): str(text) for key, text in _mapping(value).items()}


def _family(name: str, form: Mapping[str, Any]) -> Family:
    climbed = bool(form.get("ladders", True))
    declared = _mapping(form.get("implementations"))
    makers = {
        item: _maker(item, place, climbed, _mapping(facts), _definitions(form, _mapping(facts)))
        for place, (item, facts) in enumerate(declared.items(), start=1)
    }
    return Family(
        name,
        str(form.get("formula") or ""),
        str(form.get("oracle") or ""),
        _words(form.get("variants")),
        _words(form.get("regimes")),
        _words(form.get("ladders")),
        makers,
        _words(form.get("exhaustive")),
        _words(form.get("identities")),
        tuple(_mapping(item) for item in _sequence(form.get("tiers"))),
        _reductions(form),
    )


def _reductions(form: Mapping[str, Any]) -> dict[str, str]:
    """Reads each variant's reduction from its options in words, the suite's own where it names none."""
    usual = str(_mapping(form.get("options")).get("reduction") or "").strip("'")
    found = {name: _REDUCTION.search(text) for name, text in _words(form.get("variants")).items()}
    named = {name: match[1] if match else usual for name, match in found.items()}
    return {name: reduction for name, reduction in named.items() if reduction}


def _definitions(form: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns by variant how a declared definition differs from the baseline's, in words.

    Where one declares nothing, its definition is the variant's options, then the suite's; "" is any
    variant that is not declared. A manifest of an older version declares no definition at all, so
    nothing differs there.
    """
    mine = _words(facts.get("definition"))
    everyone = [_mapping(item) for item in _mapping(form.get("implementations")).values()]
    baseline = next((_words(item.get("definition")) for item in everyone if item.get("baseline")), {})
    usual = _words(form.get("options"))
    found = {}
    for variant, text in {"": "", **_words(form.get("variants"))}.items():
        asked = {**usual, **dict(_OPTION.findall(text))}
        words = []
        for option in dict.fromkeys((*mine, *baseline)):
            ours, theirs = (one.get(option, asked.get(option, "")) for one in (mine, baseline))
            if ours != theirs:
                instead = f", not {_plain(theirs)}" if theirs else ""
                words.append(f"{option.replace('_', ' ')} {_plain(ours)}{instead}")
        found[variant] = "; ".join(words)
    return found


def _plain(text: str) -> str:
    """Returns an option's value as a reader writes it: no quotes, no more digits of a float than needed."""
    try:
        return text.strip("'") if text.lstrip("-").isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text.strip("'")


def _maker(
    name: str, place: int, climbed: bool, form: Mapping[str, Any], definitions: Mapping[str, str]
) -> Maker:
    return Maker(
        name,
        place,
        str(form.get("about") or ""),
        bool(form.get("baseline")),
        bool(form.get("control")),
        str(form.get("known_bad") or ""),
        bool(form.get("compiled")),
        tuple(_mapping(item) for item in _sequence(form.get("known"))),
        climbed,
        definitions,
    )
