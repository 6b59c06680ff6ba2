"""Every question about memory layouts notices a kernel that misreads just that layout."""

from __future__ import annotations

import pytest
import torch

from harness.probes.protocol import layouts
from harness.sample import Sample
from harness.tests.questioned import Fault, assert_caught, questioned, raising, read_as, when

ALIGNMENT_BYTES = 16
TRANSPOSED, ENTRIES, ROWS = "transposed inputs", "inputs with strided entries", "inputs with strided rows"
PADDED, OFFSET = "inputs sliced from wider rows", "inputs at an offset"


def class_stride_one(logits, target):
    """The stride of the rows is honoured, that of the classes taken for 1."""
    if logits.stride(1) == 1 or logits.dim() != 2:
        return logits, target
    return logits.as_strided(logits.shape, (logits.stride(0), 1)), target


def entries_read_densely(logits, target):
    """Rows of entries that lie apart are read without the gaps; transposed ones are handled."""
    return (logits, target) if logits.stride(0) == 1 else class_stride_one(logits, target)


def classes_by_leading_axis(logits, target):
    """A column-major matrix is read as if it were row-major."""
    if logits.dim() != 2 or logits.stride(0) != 1 or logits.stride(1) == 1:
        return logits, target
    return logits.as_strided(logits.shape, (logits.shape[1], 1)), target


def rows_read_densely(logits, target):
    """The stride of the rows is taken for the number of classes."""
    if logits.dim() != 2 or logits.stride(1) != 1:
        return logits, target
    return logits.as_strided(logits.shape, (logits.shape[1], 1)), target


def whole_rows_apart(logits, target):
    """The stride of the rows is rounded down to whole rows, so that wider rows are misread."""
    if logits.dim() != 2 or logits.stride(1) != 1:
        return logits, target
    classes = logits.shape[1]
    return logits.as_strided(logits.shape, (logits.stride(0) // classes * classes, 1)), target


def every_other_row_is_missed(logits, target):
    """A multiple of the row is taken for the row; a slice of wider rows is handled."""
    if logits.dim() != 2 or logits.stride(1) != 1 or logits.stride(0) % logits.shape[1]:
        return logits, target
    return rows_read_densely(logits, target)


def aligned(tensor):
    too_far = tensor.data_ptr() % ALIGNMENT_BYTES // tensor.element_size()
    offset = tensor.storage_offset() - too_far
    if offset < 0 or not tensor.numel():
        return tensor
    return tensor.as_strided(tensor.shape, tensor.stride(), offset)


def logits_aligned(logits, target):
    """Logits are loaded from the 16-byte boundary below their address."""
    return aligned(logits), target


def labels_aligned(logits, target):
    """Labels are loaded from the 16-byte boundary below their address."""
    return logits, aligned(target)


def labels_read_densely(logits, target):
    """The stride of the labels is taken for 1."""
    return logits, target if target.dim() != 1 else target.as_strided(target.shape, (1,))


def labels_by_leading_axis(logits, target):
    """Labels of images whose first axis is the innermost are read as if the last one were."""
    if target.dim() == 1 or target.stride(0) != 1:
        return logits, target
    return logits, target.as_strided(target.shape, torch.empty(target.shape, device="meta").stride())


def label_entries_read_densely(logits, target):
    """The stride within a row of labels is taken for 1."""
    if target.dim() == 1 or target.stride(-1) == 1 or target.stride(0) == 1:
        return logits, target
    return logits, target.as_strided(target.shape, (*target.stride()[:-1], 1))


def dense_weight(logits, target, reduction="mean", weight=None):
    """The stride of the class weights is taken for 1."""
    if weight is not None:
        weight = weight.as_strided(weight.shape, (1,))
    return torch.nn.functional.cross_entropy(logits, target, weight, reduction=reduction)


def images_read_densely(logits, target):
    """Images in channels_last are read as if the channels came first."""
    if logits.dim() != 4 or not logits.is_contiguous(memory_format=torch.channels_last):
        return logits, target
    return logits.as_strided(logits.shape, torch.empty(logits.shape, device="meta").stride()), target


def halves_of_labels(logits, target):
    """A buffer of int32 labels is read as one of int16."""
    if target.dtype != torch.int32:
        return logits, target
    return logits, target.contiguous().view(torch.int16)[: len(target)].long()


LAYOUT, IMAGES = "layout", {"variant": "images"}
FAULTS = (
    Fault(TRANSPOSED, read_as(classes_by_leading_axis), LAYOUT),
    Fault(TRANSPOSED, read_as(classes_by_leading_axis), LAYOUT, variant="none", dtype="bfloat16"),
    Fault(TRANSPOSED, read_as(class_stride_one), LAYOUT, (ENTRIES,)),
    Fault(ENTRIES, read_as(entries_read_densely), LAYOUT),
    Fault(ROWS, read_as(every_other_row_is_missed), LAYOUT),
    Fault(PADDED, read_as(whole_rows_apart), LAYOUT),
    Fault(PADDED, read_as(rows_read_densely), LAYOUT, (ROWS,), dtype="bfloat16"),
    Fault(OFFSET, read_as(logits_aligned), LAYOUT),
    Fault(OFFSET, read_as(logits_aligned), LAYOUT, dtype="bfloat16"),
    Fault(OFFSET, read_as(logits_aligned), LAYOUT, **IMAGES),
    Fault("channels_last inputs", read_as(images_read_densely), LAYOUT, **IMAGES),
    Fault("strided labels", read_as(labels_read_densely), LAYOUT),
    Fault("labels at an offset", read_as(labels_aligned), LAYOUT),
    Fault("labels at an offset", read_as(labels_aligned), LAYOUT, dtype="bfloat16", variant="none"),
    Fault("transposed labels", read_as(labels_by_leading_axis), LAYOUT, **IMAGES),
    Fault("labels with strided entries", read_as(label_entries_read_densely), LAYOUT, **IMAGES),
    Fault("strided options", dense_weight, LAYOUT, variant="weighted"),
    Fault("strided options", dense_weight, LAYOUT, variant="weighted_none", dtype="bfloat16"),
    # native refuses int32 labels, so that who widens them wrongly is the only one to answer.
    Fault("int32 labels", read_as(halves_of_labels), LAYOUT),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_planted_fault_is_caught_by_its_question_and_by_no_other(fault):
    assert_caught(fault)


def test_every_question_has_a_planted_fault():
    assert {q.name for q in layouts.QUESTIONS} == {fault.question for fault in FAULTS}


def _is_dense(logits, target):
    return logits.is_contiguous() and target.is_contiguous()


def test_who_raises_in_a_layout_is_accused_and_who_refuses_narrow_labels_is_not():
    answer = questioned(when(lambda logits, target: not _is_dense(logits, target), raising))
    assert {(f.kind, f.group) for f in answer.findings} == {
        ("raises", name) for name in (TRANSPOSED, ENTRIES, ROWS, PADDED, "strided labels")
    }
    assert (
        "int32" in answer.notes["unsupported: int32 labels"]
        or "Int" in answer.notes["unsupported: int32 labels"]
    )


def test_who_says_that_a_layout_is_not_implemented_is_noted():
    def refuses(loss):
        raise NotImplementedError("needs contiguous logits")

    answer = questioned(when(lambda logits, target: not logits.is_contiguous(), refuses))
    assert answer.findings == ()
    assert answer.numbers["questions_unsupported"] == 5


@pytest.mark.parametrize(
    "change",
    [layouts.transposed, layouts.strided_entries, layouts.strided_rows, layouts.padded_rows, layouts.shifted],
)
@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4, 5)])
def test_a_layout_holds_the_same_numbers_in_other_memory(change, shape):
    dense = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    laid = change(dense.clone())
    assert torch.equal(laid, dense)
    assert not laid.is_contiguous() or laid.storage_offset() == 1


def test_gaps_hold_what_must_not_be_read():
    gaps = layouts.strided_rows(torch.zeros(4, 3))
    assert gaps.as_strided((8, 3), (3, 1))[1::2].isnan().all()
    labels = layouts.strided_rows(torch.tensor([3, 1, 2, 0]))
    assert not torch.equal(labels.as_strided((4,), (1,)), labels)
    sample = Sample(logits=layouts.shifted(torch.zeros(2, 2)), target=torch.zeros(2, dtype=torch.long))
    assert sample["logits"].as_strided((1,), (1,), 0).isnan().all()
