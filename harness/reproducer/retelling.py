"""How the question of a probe is put in a script: which rows and bounds it needs, and its lines.

The trap: what a question draws for a whole batch (upstream gradients, directions) belongs to its
rows, so it is drawn for all rows first and cut afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.reproducer.scene import Scene
from harness.results import Finding
from harness.sample import Sample, folded, rows
from harness.standard import Standard, standard
from harness.suite import Suite
from harness.trial import Case


class Rows(OpenBlock):
    """A block of which some rows are kept, in every sample of its case; None keeps them all."""

    def __init__(
        self, suite: Suite, case: Case, seed: int, name: str, finding: Finding, kept: list[int] | None = None
    ) -> None:
        super().__init__(suite, case, seed)
        self.name, self.finding, self.kept_rows = name, finding, kept

    def drawn(self, repeat: int = 0) -> tuple[Sample, dict[str, Any]]:
        """Returns the kept rows of a repeat, and its options."""
        sample, options = super().drawn(repeat)
        return self.cut(sample), options

    def cut(self, sample: Sample) -> Sample:
        """Returns the kept rows of a sample of all rows."""
        return sample if self.kept_rows is None else cut(sample, self.kept_rows)

    def plain(self, repeat: int = 0) -> Standard:
        """Returns what the plain call is judged by."""
        return self.standard(self.name, repeat)

    def whole(self) -> Rows:
        """Returns the block with all its rows."""
        return Rows(self.suite, self.case, self.seed, self.name, self.finding)

    def judged(self, sample: Sample, options: Any, dtype: str | None = None) -> Standard:
        """Returns what answers to another sample are judged by, in another dtype where one is given."""
        definition = self.suite.implementation(self.name).contract.definition
        return standard(self.suite, sample, options, dtype or self.case.dtype, definition)

    def of_rows(self, whole: Tensor, like: Tensor) -> Tensor:
        """Returns the kept rows of a tensor made for all of them, in the shape of another tensor."""
        if self.kept_rows is None or not whole.dim():
            return whole
        layout = self.drawn()[0].layout
        return folded(rows(whole, layout)[torch.tensor(self.kept_rows)], like.shape, layout)


def plain(block: Rows) -> Standard:
    """Returns the standard of the plain call, which most questions ask otherwise."""
    return block.plain()


def _same_case(case: Case, finding: Finding) -> Case:
    return case


def row_of(finding: Finding) -> int | None:
    """Returns the row that a finding is about; None for a reduced loss and for what all rows share."""
    place = () if finding.witness.get("shared") else finding.witness.get("place", ())
    return int(place[0]) if place else None


def _witnessed_row(finding: Finding, count: int) -> int | None:
    return row_of(finding)


@dataclass(frozen=True)
class Retelling:
    """One question: `stand` is what its answers are judged by, `other` a second sample's standard.

    `extra` makes further tensors that the lines write down, `case` is the case whose rows are drawn,
    `anchor` the row that is tried alone first; `cut` tells whether rows may be left out.
    """

    lines: Callable[[Scene], list[str]]
    stand: Callable[[Rows], Standard] = plain
    other: Callable[[Rows], Standard] | None = None
    extra: Callable[[Rows], Mapping[str, Tensor]] = lambda block: {}
    case: Callable[[Case, Finding], Case] = _same_case
    anchor: Callable[[Finding, int], int | None] = _witnessed_row
    threads: Callable[[Case, Finding], int] = lambda case, finding: case.threads
    cut: bool = True


def second(block: Rows) -> Standard:
    """Returns the standard of the sample that a question about two samples draws beside the first."""
    return block.plain(repeat=1)


def cut(sample: Sample, kept: list[int]) -> Sample:
    """Returns some rows of a sample; rows of images become images of one pixel."""
    if kept == list(range(len(sample.in_rows()[next(iter(sample))]))):
        return sample

    if sample.layout == "sequences":
        return sample.taken(torch.tensor(kept))

    if sample.shared:
        return sample.taken(torch.tensor(kept))

    def some(tensor: Tensor) -> Tensor:
        chosen = rows(tensor, sample.layout)[torch.tensor(kept)]
        return chosen.reshape(*chosen.shape, *([1] * (tensor.dim() - chosen.dim())))

    return sample.mapped(some)


def with_sample(stand: Standard, sample: Sample) -> Standard:
    """Returns a standard whose script holds another sample: the same numbers, or ones without a truth."""
    return replace(stand, sample=sample)
