"""What the page of the kill matrix says where nothing is missing, where something is, and where one survived.

The trap: a page that calls everything found because its table of missing questions is empty would hide the
fault that a question stopped finding.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.tests.mutants import matrix
from harness.tests.mutants.catalogue import MUTANTS
from harness.tests.mutants.evidence import Evidence, Sighting
from harness.tests.mutants.mutant import Mutant

ALL_FOUND = "Every planted fault was found, under every seed."
HEAD = "| row | mutant | family | fault | happened in | right for | missing question |"


def evidence_of(mutants: tuple[Mutant, ...], seed: int = 0) -> Evidence:
    """Evidence in which each mutant is seen once, as its catalogue entry expects it."""
    found = Evidence(seed)
    for m in mutants:
        found.sightings[m.name] = [Sighting(m.kinds[0], "error", m.probes[0], "loss", f"{m.family}/a/case")]
    return found


def not_found(evidences: list[Evidence]) -> str:
    """The section of the page."""
    return matrix.page(evidences).partition("## Not found\n\n")[2].partition("\n\n## ")[0]


def test_where_every_fault_was_found_the_page_says_so_in_one_sentence_without_a_table() -> None:
    assert not_found([evidence_of(MUTANTS), evidence_of(MUTANTS, 1)]) == ALL_FOUND


def test_a_fault_that_survived_one_seed_is_named_and_not_all_are_called_found() -> None:
    last = MUTANTS[-1]
    section = not_found([evidence_of(MUTANTS), evidence_of(MUTANTS[:-1], 1)])
    assert section == f"No question is known to be missing, yet: {last.name} survives seed 1."
    assert ALL_FOUND not in matrix.page([evidence_of(MUTANTS[:-1])])


def test_a_missing_question_stands_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    unseen = replace(MUTANTS[-1], unseen="a question that nobody asks")
    monkeypatch.setattr(matrix, "MUTANTS", (*MUTANTS[:-1], unseen))
    section = not_found([evidence_of(MUTANTS[:-1])])
    assert HEAD in section
    assert section.splitlines()[-1].startswith(f"| {unseen.row} | {unseen.name} | {unseen.family} |")
    assert section.endswith("| a question that nobody asks |")
    assert ALL_FOUND not in section


def test_the_page_in_the_docs_has_no_empty_table() -> None:
    text = matrix.PAGE.read_text(encoding="utf-8")
    assert (ALL_FOUND in text) == (HEAD not in text) == (not any(mutant.unseen for mutant in MUTANTS))
