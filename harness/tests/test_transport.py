"""What a worker said last is kept, however much it printed before."""

from __future__ import annotations

import os

import pytest

from harness import transport
from harness.transport import OUTPUT_BYTES, TAIL_BYTES, WorkerProcess


@pytest.fixture
def worker():
    worker = WorkerProcess(1, 1 << 32)
    yield worker
    worker.end()


def said(worker, text):
    """Writes as the worker does, whose stdout this is."""
    os.write(worker._output.fileno(), text)


def test_the_end_of_what_was_said_is_kept(worker):
    said(worker, b"raw " * TAIL_BYTES + b"last words\n")
    tail, _ = worker.end()
    assert len(tail) < TAIL_BYTES
    assert tail.endswith("raw last words")


def test_words_after_a_write_that_met_the_emptying_are_the_last(worker, monkeypatch):
    def truncated_while_writing(descriptor, size):
        ftruncate(descriptor, size)
        os.write(descriptor, b"raw " * TAIL_BYTES)

    ftruncate = os.ftruncate
    monkeypatch.setattr(transport.os, "ftruncate", truncated_while_writing)
    said(worker, b"raw " * (OUTPUT_BYTES // 4 + 1))
    worker.bound_output()
    said(worker, b"last words\n")
    assert os.fstat(worker._output.fileno()).st_size < OUTPUT_BYTES
    tail, _ = worker.end()
    assert tail.endswith("raw last words")
