"""Asks one implementation every protocol question that applies, in one case.

An exception on a question that may be refused is `unsupported` and named in a note, unless it is of a kind
that nobody refuses with (SLIPS: a missing attribute, a wrong index); on any other it is the finding
`raises`, or `edge_shape` where the question is an edge. Want of memory is neither: the other questions are
asked all the same, and the answer as a whole is `out_of_memory`. The trap: who fails the plain call fails
every question, so nothing is asked then; the accuracy probe has said why.
"""

from __future__ import annotations

import builtins
import warnings
from dataclasses import replace

from harness.block import Answer, OpenBlock
from harness.calling import failure
from harness.outcome import KINDS
from harness.probes.protocol import calls, edges, layouts, state, transforms
from harness.probes.protocol.interview import (
    NAME,
    ExhaustedError,
    Interview,
    Question,
    RefusedError,
    UnsupportedError,
)
from harness.probes.settings import settings_kept
from harness.results import Finding

QUESTIONS: tuple[Question, ...] = (
    *calls.QUESTIONS,
    *state.QUESTIONS,
    *layouts.QUESTIONS,
    *edges.QUESTIONS,
    *transforms.QUESTIONS,
)
# What Python itself raises over a slip in the code; a refusal is a RuntimeError, a TypeError or the like.
SLIPS = (AttributeError, LookupError, NameError, ArithmeticError)


def protocol(block: OpenBlock, name: str) -> Answer:
    """Asks all questions that apply; numbers say how many were asked and how many were refused."""
    try:
        interview = Interview(block, name, block.bound(name))
        interview.answered(interview.plain)
    except ExhaustedError as error:
        return Answer("out_of_memory", str(error))
    except UnsupportedError as refused:
        return Answer("unsupported", str(refused))
    except RefusedError as refused:
        return Answer("skipped", f"the plain call fails ({refused.finding.kind}); see accuracy")
    except Exception as error:
        status, reason = failure(error)
        return Answer(status or "skipped", reason)
    compiled = block.suite.implementation(name).compiled
    findings: list[Finding] = []
    refusals: dict[str, str] = {}
    exhausted: dict[str, str] = {}
    asked = 0
    for question in QUESTIONS:
        if not question.applies(interview) or (compiled and question.recompiles):
            continue
        asked += 1
        interview.question = question.name
        try:
            found, refusal = _asked(question, interview)
        except ExhaustedError as error:
            exhausted[question.name] = str(error)
            continue
        findings += found
        if refusal is not None:
            refusals[f"unsupported: {question.name}"] = refusal
    numbers = {"questions": float(asked), "questions_unsupported": float(len(refusals))}
    with block.ledger.spending("judging"):
        refusals |= block.coarse_vacuity(interview.held.values())
    if not exhausted:
        return Answer("ok", "", tuple(findings), numbers, refusals)
    notes = refusals | {f"out of memory: {name}": reason for name, reason in exhausted.items()}
    first = next(iter(exhausted))
    more = f", and in {len(exhausted) - 1} other questions" if len(exhausted) > 1 else ""
    reason = f"in the question {first}{more}: {exhausted[first]}"
    return Answer("out_of_memory", reason, tuple(findings), numbers, notes)


def _asked(question: Question, interview: Interview) -> tuple[list[Finding], str | None]:
    """Returns findings, and why the question was refused if it was; raises ExhaustedError without memory."""
    try:
        with settings_kept(), warnings.catch_warnings():
            # What torch has to say about performance under vmap is no concern of a protocol.
            warnings.simplefilter("ignore")
            return [_of(question, finding) for finding in question.ask(interview)], None
    except ExhaustedError:
        raise
    except UnsupportedError as refused:
        return [], str(refused)
    except RefusedError as refused:
        if question.refusable and refused.finding.kind == "raises" and not _slipped(refused.finding):
            return [], refused.finding.message
        return [_of(question, refused.finding)], None
    except Exception as error:
        status, reason = failure(error)
        if status == "out_of_memory":
            raise ExhaustedError(reason) from error
        if status is not None or (question.refusable and not isinstance(error, SLIPS)):
            return [], reason
        return [_of(question, Finding("raises", "error", NAME, "call", reason))], None


def _slipped(raised: Finding) -> bool:
    """Tells whether a finding `raises` names a slip; its message begins with the name of the exception."""
    name = raised.message.partition(":")[0]
    return isinstance(getattr(builtins, name, None), type) and issubclass(getattr(builtins, name), SLIPS)


def _of(question: Question, finding: Finding) -> Finding:
    """Returns a finding in the name of its question; kinds that say more than the question's stay."""
    keeps = ("raises", "overwrites", "version_moved", "no_gradient", "shape", "result_dtype", "changes_state")
    kind = finding.kind if finding.kind in keeps else question.kind
    if kind == "raises" and question.kind == "edge_shape":
        kind = "edge_shape"
    severity = KINDS[kind].severity or finding.severity
    return replace(
        finding,
        kind=kind,
        severity=severity,
        group=question.name,
        message=f"{finding.group}: {finding.message}",
        witness={**finding.witness, "question": question.name},
    )
