"""A finding with the rows, the options and the bounds that its script is written from.

`stand` holds the rows that were kept and what answers to them are judged by; `other` a second sample
for questions that need one. The trap: a stored run names implementations it selected, but whoever
puts another one in the place of a faulty one has to see them all.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from harness.discovery import Selection, discover, is_reference
from harness.errors import HarnessError, UsageError, unknown
from harness.implementation import Implementation
from harness.results import Finding
from harness.standard import Standard
from harness.suite import Suite
from harness.trial import Trial

# Rows that hold every value of a dtype are asked by the plain call.
EXHAUSTIVE = "exhaustive "
_WORDS = re.compile(r"[\w .:]*")


class NoReproducerError(HarnessError):
    """A finding for which no script of its own can be written; the message says why."""


@dataclass(frozen=True)
class Reproduction:
    """A finding as it is seen again: on which rows, under which standard, at which place.

    `finding` is the stored one, `seen` what the kept rows show; `stand` holds the kept rows. `again` is
    False where this machine does not show the finding: then all rows are kept and `seen` is `finding`.
    `instead` is what the call raised then, empty where it came back. `threads` are those of the question,
    `extra` further tensors that its lines write down.
    """

    suite: Suite
    trial: Trial
    implementation: Implementation
    finding: Finding
    seen: Finding
    stand: Standard
    given: Mapping[str, Any]
    rows_drawn: int
    kept: tuple[int, ...]
    seed: int
    again: bool
    threads: int
    other: Standard | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    instead: str = ""
    selection: Selection | None = None

    @property
    def place(self) -> tuple[int, ...]:
        """The witness's entry in row form: (), (row,) or (row, class)."""
        return tuple(self.seen.witness.get("place", ()))

    @property
    def tensor(self) -> str:
        """What the finding is about: "loss" or the name of an input, empty for the whole call."""
        return str(self.seen.witness.get("tensor", ""))

    @property
    def question(self) -> str:
        """What a probe put into the witness as its question, empty for the plain call.

        It goes into the text of a script, so what is not made of words alone is none.
        """
        question = str(self.finding.witness.get("question", ""))
        return "" if question.startswith(EXHAUSTIVE) or not _WORDS.fullmatch(question) else question


def selection_of(manifest: Mapping[str, Any]) -> Selection:
    """Returns what a stored run selected; known-bad implementations are always visible here.

    Runs made before manifests held their selection are read off their configuration and command.
    """
    stored = manifest.get("selection")
    asked = Selection.from_json(stored) if stored is not None else _from_command(manifest)
    loaded = tuple(name for name in asked.implementations if ":" in name)
    named = bool(loaded or asked.inputs)
    suites = asked.suites if named else tuple(s for s in asked.suites if is_reference(s))
    return Selection(suites, loaded, asked.inputs, known_bad=True)


def _from_command(manifest: Mapping[str, Any]) -> Selection:
    def value(name: str) -> tuple[str, ...]:
        return tuple(manifest["config"].get(name, {}).get("value") or ())

    words, inputs = shlex.split(manifest.get("command", "")), ""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--inputs":
            inputs = following
        elif word.startswith("--inputs="):
            inputs = word.partition("=")[2]
    return Selection(value("suite"), value("impl"), inputs)


def suite_of(name: str, selection: Selection) -> Suite:
    """Returns the suite that a stored run asked; raises UsageError when it is no longer found."""
    suites = discover(selection).suites
    if name not in suites:
        raise UsageError(unknown("show --repro", "suite", name, sorted(suites)))
    return suites[name]


def trusted(
    manifest: Mapping[str, Any], suites: tuple[str, ...], implementations: tuple[str, ...]
) -> Selection:
    """Returns what may be loaded for a stored run: the code that the user names, and nothing else.

    A run may come from a stranger, and loading a suite runs it. Raises UsageError where the run had
    loaded code that the user does not name again.
    """
    stored = selection_of(manifest)
    asked = [("--suite", s) for s in stored.suites if is_reference(s)]
    asked += [("--impl", i) for i in stored.implementations]
    if asked and not (suites or implementations):
        flags = " ".join(f"{flag} {reference}" for flag, reference in asked)
        raise UsageError(
            f"show --repro: the run had loaded code by {flags}; a run directory is not trusted to load "
            f"any: if you know that code, add {flags}."
        )
    return Selection(suites or stored.suites, implementations, stored.inputs, known_bad=True)
