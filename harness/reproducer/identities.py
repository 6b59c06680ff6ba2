"""Do both sides still differ? The calls of an identity in a script, each on the row that broke it.

A side is linear in its calls: rest + sum_k a_k L_k, and its gradient rest + sum_k w_k . g_k with the weights
w_k = a_k du_k/ds of the entry in question. The script makes the calls of the implementation and adds them
up; what a side has beside them (the truth of another family, entropies) is the number `rest`. The trap: a
row is asked alone here and was one of many there, so the search runs the script before it is believed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.calling import torch_state_kept
from harness.probes.evaluation import TRUTH, Answered, Call, Evaluation
from harness.probes.identity import drawn_for
from harness.probes.sides import side_of, slope_of
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.retelling import Retelling, Rows, cut
from harness.reproducer.scene import Scene
from harness.reproducer.tensors import quoted
from harness.results import Finding
from harness.sample import Sample, rows
from harness.standard import Standard, standard
from harness.suite import Identity, Suite

OF = "gradient of "


@dataclass(frozen=True)
class _Term:
    """One call of a side on the row in question: its loss times `weight`, or gradients times `weights`."""

    sample: Sample
    asked: Mapping[str, Any]
    weight: float
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Told:
    """A side on the row in question: its calls, and what it has beside them."""

    terms: tuple[_Term, ...]
    rest: float


def _identity_of(suite: Suite, finding: Finding) -> Identity:
    for one in suite.identities:
        if one.name == finding.group:
            return one
    raise NoReproducerError(f"show --repro: suite {suite.name!r} has no identity {finding.group} any more.")


def _sides(block: OpenBlock, name: str, finding: Finding) -> tuple[_Told, _Told]:
    one = _identity_of(block.suite, finding)
    sample, options = drawn_for(block, one)
    evaluation = Evaluation(block, name, one.variant, one.regime, sample, options)
    with torch_state_kept():
        left, right = (_told(side, evaluation, sample, finding) for side in (one.left, one.right))
    return left, right


def _told(side: Any, evaluation: Evaluation, sample: Sample, finding: Finding) -> _Told:
    tensor, place = str(finding.witness["tensor"]), tuple(finding.witness["place"])
    named = tensor.removeprefix(OF)
    side_of(side, evaluation, sample, finding.group)
    asked = evaluation.answers
    # With answers of 0 a side is what it has beside its calls; a NaN could not be taken off again.
    evaluation.answers = {
        key: answer if key[0] == TRUTH else _nothing(answer) for key, answer in asked.items()
    }
    beside = side_of(side, evaluation, sample, finding.group)
    rest = float((beside.losses if tensor == "loss" else beside.gradients[named])[place])
    evaluation.calls = []
    value = side(evaluation, sample).reshape(-1).double()
    terms = []
    for call in evaluation.calls:
        if call.stored is not None:
            weight = float(slope_of(value, call.anchor, torch.ones_like(value))[place[0]])
            weights = {} if tensor == "loss" else _weights(call, weight, sample, named, place)
            terms.append(_Term(cut(call.stored, [place[0]]), call.asked, weight, weights))
    evaluation.answers = asked
    return _Told(tuple(terms), rest)


def _nothing(answer: Answered) -> Answered:
    gradients = {name: np.zeros_like(gradient) for name, gradient in answer.gradients.items()}
    return replace(answer, losses=np.zeros_like(answer.losses), gradients=gradients)


def _weights(
    call: Call, weight: float, sample: Sample, leaf: str, place: tuple[int, ...]
) -> dict[str, Tensor]:
    """Returns by input what each entry of its gradient in the row adds to the entry of the leaf."""
    found = {}
    for name in call.answered.gradients:
        inputs = call.inputs[name]
        if inputs.requires_grad:
            row = torch.zeros(inputs[place[0]].numel(), dtype=torch.float64)
            for entry in range(row.numel()):
                one = torch.zeros_like(inputs)
                one[place[0]].reshape(-1)[entry] = 1.0
                row[entry] = weight * rows(slope_of(inputs, sample[leaf], one), sample.layout)[place]
            found[name] = row
    return found


def _stand(block: Rows) -> Standard:
    """Returns the standard of the first call, whose tensors the script holds as `inputs`."""
    left, right = _sides(block, block.name, block.finding)
    first = (*left.terms, *right.terms)[0]
    one = _identity_of(block.suite, block.finding)
    _, options = drawn_for(block, one)
    every = {**options, **first.asked, "reduction": "none"}
    definition = block.suite.implementation(block.name).contract.definition
    return standard(block.suite, first.sample, every, block.case.dtype, definition)


def _lines(scene: Scene) -> list[str]:
    found = scene.found
    finding = found.finding
    block = OpenBlock(found.suite, found.trial.case, found.seed)
    sides = _sides(block, found.implementation.name, finding)
    one = _identity_of(found.suite, finding)
    lines = ["usual = options"]
    for word, told in zip(("left", "right"), sides, strict=True):
        lines += [
            "",
            f"# The {word} side: what it has beside its calls, then its calls.",
            f"{word} = {told.rest!r}",
        ]
        for term in told.terms:
            lines += _called(scene, word, term)
    allowed = float.fromhex(finding.witness["allowed"])
    holds = (
        f"left >= right - {allowed!r}" if one.relation == "at_least" else f"abs(left - right) <= {allowed!r}"
    )
    about = one.about or one.name
    return [*lines, "", f'assert {holds}, f"{{left!r}} and {{right!r}} break: " + {quoted(about)}']


def _called(scene: Scene, word: str, term: _Term) -> list[str]:
    asked = {name: value for name, value in term.asked.items() if name != "reduction"}
    lines = [f"options = {{**usual, **{asked!r}}}", *scene.build]
    for name, tensor in term.sample.named.items():
        lines += scene.tensor(f"inputs[{quoted(name)}]", tensor)
    if (device := scene.found.trial.case.device) != "cpu":
        lines.append(f"inputs = {{name: tensor.to({device!r}) for name, tensor in inputs.items()}}")
    lines += [f"inputs[{quoted(name)}].requires_grad_(True)" for name in term.sample.gradients]
    lines += scene.called()
    if not term.weights:
        return [*lines, f"{word} = {word} + {_number(term.weight)} * float(loss.sum())"]
    lines += ["upstream = torch.ones_like(loss)", scene.backward()]
    for name, weights in term.weights.items():
        place = list(term.sample.gradients).index(name)
        lines += scene.tensor("weights", weights)
        lines.append(f"gradient = gradients[{place}].detach().cpu().double().reshape(-1)")
        lines.append(f"{word} = {word} + float((weights * gradient).sum())")
    return lines


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else f"float({str(value)!r})"


IDENTITY = Retelling(_lines, _stand, cut=False)
