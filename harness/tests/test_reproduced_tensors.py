"""Tensors in a script read back bit for bit, short where they repeat; selections are read off manifests."""

from __future__ import annotations

import json
import textwrap

import pytest
import torch

from harness.discovery import Selection
from harness.reproducer.reproduction import selection_of
from harness.reproducer.tensors import TensorText, short_hex


def read_back(text, tensor):
    helpers = textwrap.dedent("\n".join(text.helpers))
    scope = {"torch": torch}
    exec("\n".join([*(f"import {m}" for m in text.modules), helpers]), scope)
    # Lines are written for the inside of `main`; what is packed stands at the left margin.
    exec("\n".join(["if True:", *text.written("value", tensor)]), scope)
    return scope["value"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "int64", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 4, 5), (5000,), (40, 200), (0, 3)])
def test_tensors_read_back_bit_for_bit(dtype, shape):
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)
    if kind.is_floating_point:
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64).mul(1e-3).to(kind)
        special = torch.tensor([-0.0, torch.finfo(kind).smallest_normal / 2, float("inf"), -float("inf")])
        flat = tensor.reshape(-1)
        flat[: min(4, flat.numel())] = special.to(kind)[: flat.numel()]
    else:
        tensor = torch.randint(0, 2, shape, generator=generator).to(kind)
    text = TensorText()
    lines = text.written("value", tensor)
    assert ("unpacked" in "\n".join(lines)) == (tensor.numel() > 4096)
    again = read_back(text, tensor)
    assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape)
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}[tensor.element_size()]
    assert torch.equal(again.contiguous().view(whole), tensor.contiguous().view(whole))


def test_a_batch_that_repeats_is_written_as_its_cycle():
    cycle = torch.randn(7, 3)
    for count in (64, 700, 701):
        tensor = cycle[torch.arange(count) % 7]
        text = TensorText()
        lines = text.written("value", tensor)
        assert lines[-1].endswith(f"# {count} rows repeat 7")
        assert torch.equal(read_back(text, tensor), tensor)
    tensor[-1] += 1
    assert "repeat" not in "\n".join(TensorText().written("value", tensor))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1.5, -3.1e-320, 2.0**1000, float("inf"), -float("inf")])
def test_short_hex_floats_are_the_same_numbers(value):
    assert float.fromhex(short_hex(value)).hex() == value.hex()
    assert len(short_hex(value)) <= len(value.hex())


def test_a_selection_is_read_off_a_manifest(tmp_path):
    stored = Selection((str(tmp_path / "mine.py"), "kl_div"), ("native", "pkg.mod:f"), "a b.safetensors")
    found = selection_of({"selection": json.loads(json.dumps(stored.to_json())), "command": "lossgauge run"})
    assert found.suites == (str(tmp_path / "mine.py"), "kl_div")
    assert (found.implementations, found.known_bad) == (("pkg.mod:f",), True)
    assert found.inputs.endswith("a b.safetensors")
    # Names of suites alone select nothing: whoever is put in another's place may be of any file.
    named = Selection(("cross_entropy",), ("native",))
    assert selection_of({"selection": named.to_json()}) == Selection(known_bad=True)


def test_a_manifest_without_a_selection_is_read_by_its_command():
    manifest = {
        "command": "lossgauge run --suite mine.py --inputs 'a b.safetensors'",
        "config": {"suite": {"value": ["mine.py"]}, "impl": {"value": ["native", "pkg.mod:f"]}},
    }
    found = selection_of(manifest)
    assert (found.suites, found.implementations) == (("mine.py",), ("pkg.mod:f",))
    assert (found.inputs, found.known_bad) == ("a b.safetensors", True)
    assert selection_of({"config": {"suite": {"value": ["cross_entropy"]}}}).suites == ()
