"""What a worker settles before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.worker import _sleep_while_waiting


@pytest.mark.parametrize(
    ("threads", "given", "wanted"),
    [("1", None, "passive"), ("4", None, None), ("1", "active", "active"), (None, None, None)],
)
def test_threads_of_a_one_thread_worker_sleep_at_barriers_unless_the_user_says_otherwise(
    monkeypatch, threads, given, wanted
):
    for name, value in (("OMP_NUM_THREADS", threads), ("OMP_WAIT_POLICY", given)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    _sleep_while_waiting()
    assert os.environ.get("OMP_WAIT_POLICY") == wanted


def test_it_is_settled_before_torch_is_there_to_read_it():
    code = "import sys, harness.worker; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
