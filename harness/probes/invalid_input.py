"""Does it refuse what is no input at all? Labels outside the classes, asked of a worker that may die.

A suite declares what is invalid for its family. A compiled form has to meet it in the manner of its function
as it is, else that is `error_parity`. Raising is right; a number is the finding
`accepts_invalid`, NaN a note; a worker that dies of it is the finding `kills_process`, made by
the engine, since a dead process reports nothing. Asked with one thread and with several on ROWS rows:
compiled code checks its labels in a parallel region from which an exception cannot leave (torch 2.13
aborts at 2 threads and 20,000 rows, raises otherwise). The trap: asked in the process of a test
session it would end that session, so only workers ask it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from harness.block import Answer, OpenBlock, reset_compiler
from harness.calling import Bound, bind, torch_state_kept
from harness.implementation import Implementation
from harness.inputs import on_device
from harness.outcome import severity
from harness.regime import Invalid
from harness.results import Finding
from harness.sample import Sample, Shape
from harness.units import number

NAME = "invalid_input"
ACCEPTS, PARITY = "accepts_invalid", "error_parity"
ROWS = 20480
FEW_ROWS = 64


def invalid_input(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation every invalid input of its suite, few rows first, one thread first."""
    implementation = block.suite.implementation(name)
    findings: list[Finding] = []
    notes: dict[str, str] = {}
    asked = refused = uneven = 0
    for count in _counts(implementation, block.case.classes):
        drawn = block.drawn_at(Shape(count, block.case.classes))
        if drawn is None:
            continue
        plain = _uncompiled(block, name, *drawn) if implementation.compiled else {}
        for threads in dict.fromkeys((1, min(4, os.cpu_count() or 1))):
            for invalid, answer in _answers(block, block.bound_for, name, *drawn, threads):
                asked += 1
                if invalid.name in plain and _manner(plain[invalid.name]) != _manner(answer):
                    uneven += 1
                    if not any(f.kind == PARITY and f.group == invalid.name for f in findings):
                        findings.append(_parity(invalid, plain[invalid.name], answer, threads, count))
                if isinstance(answer, str):
                    refused += 1
                    notes.setdefault(invalid.name, answer)
                elif answer != answer:
                    notes.setdefault(invalid.name, "answers NaN")
                elif not any((f.kind, f.group) == (ACCEPTS, invalid.name) for f in findings):
                    findings += _accepted(invalid, answer, threads, count)
    numbers = {"invalid_inputs": float(asked), "invalid_inputs_refused": float(refused)}
    if implementation.compiled:
        numbers["invalid_inputs_uneven"] = float(uneven)
    return Answer("ok", "", tuple(findings), numbers, notes)


def _counts(implementation: Implementation, classes: int) -> tuple[int, ...]:
    """Returns the numbers of rows at which an implementation is asked.

    A compiled form is one artefact per shape and thread count: it is asked where it is known to die, or,
    where it is not to be called with so many rows, with few.
    """
    skip = implementation.skip
    counts = [rows for rows in (FEW_ROWS, ROWS) if skip is None or not skip(Shape(rows, classes))]
    return tuple(counts[-1:] if implementation.compiled else counts)


def _uncompiled(
    block: OpenBlock, name: str, sample: Sample, options: Mapping[str, Any]
) -> dict[str, float | str]:
    """Returns what the function of a compiled form answers as it is, by the name of the input."""
    plain = replace(block.suite.implementation(name), prepare=None)
    given = block.suite.variant(block.case.variant).options

    def bound(_: str, asked: Mapping[str, Any]) -> Bound:
        return bind(plain, on_device(asked, block.case.device), given, block.ledger)

    return {invalid.name: answer for invalid, answer in _answers(block, bound, name, sample, options, 1)}


def _answers(
    block: OpenBlock,
    built: Callable[[str, Mapping[str, Any]], Bound],
    name: str,
    sample: Sample,
    options: Mapping[str, Any],
    threads: int,
) -> Iterator[tuple[Invalid, float | str]]:
    """Yields the loss of every invalid input, or the text of what was raised."""
    with torch_state_kept(), torch.no_grad():
        torch.set_num_threads(threads)
        if block.suite.implementation(name).compiled:
            # Code is built for a thread count that no guard looks at.
            reset_compiler()
        bound = built(name, options)
        for invalid in block.suite.invalid:
            asked = invalid.change(sample, options).mapped(lambda t: t.to(block.case.device))
            try:
                answer: float | str = float(bound.loss(asked.tensors).double().sum())
            except Exception as error:
                answer = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            yield invalid, answer


def _manner(answer: float | str) -> str:
    """Returns how an invalid input was met: raised, NaN or a number; what was raised is not compared."""
    return "raises" if isinstance(answer, str) else "NaN" if answer != answer else "a number"


def _parity(invalid: Invalid, plain: float | str, answer: float | str, threads: int, count: int) -> Finding:
    told = [
        f"raises {found}" if isinstance(found, str) else f"answers {number(found)}"
        for found in (answer, plain)
    ]
    about = invalid.about.removesuffix(".")
    sentence = f"{about}: {told[0]} at {count} rows and {threads} threads; uncompiled it {told[1]}"
    return Finding(PARITY, severity(PARITY), NAME, invalid.name, sentence)


def _accepted(invalid: Invalid, answer: float, threads: int, count: int) -> list[Finding]:
    about = invalid.about.removesuffix(".")
    sentence = f"{about}: answers {number(answer)} at {count} rows and {threads} threads"
    return [Finding(ACCEPTS, severity(ACCEPTS), NAME, invalid.name, sentence)]
