"""Tensors as Python text that reads back bit for bit.

Floating numbers are hex floats; beyond 4096 numbers base64 of zlib of the raw bytes with a two-line
decoder; a batch that repeats a few rows is written as those rows and their number. The trap: raw
bytes are little-endian, as on every machine that torch is built for.
"""

from __future__ import annotations

import base64
import textwrap
import zlib

import torch
from torch import Tensor

# Beyond this many numbers a tensor is packed instead of spelt out.
SPELT_OUT = 4096
WIDTH = 100
# Fewer rows than this are spelt out even where they repeat.
FEWEST_REPEATED = 32
FLOATS = (
    "    def floats(text):",
    "        return torch.tensor([float.fromhex(word) for word in text.split()], dtype=torch.float64)",
)
UNPACKED = (
    "    def unpacked(text, dtype):",
    "        return torch.frombuffer(bytearray(zlib.decompress(base64.b64decode(text))), dtype=dtype)",
)


class TensorText:
    """Tensors as text, and the helpers and modules that reading them needs."""

    def __init__(self) -> None:
        self.helpers: list[str] = []
        self.modules: list[str] = []

    def written(self, name: str, tensor: Tensor) -> list[str]:
        """Returns the lines that bind a name to a tensor, bit for bit."""
        tensor = tensor.detach().cpu().contiguous()
        period = _period(tensor)
        if period is not None:
            first = self._literal(name, tensor[:period])
            again = f"    {name} = {name}[torch.arange({len(tensor)}) % {period}]"
            return [*first, f"{again}  # {len(tensor)} rows repeat {period}"]
        return self._literal(name, tensor)

    def _literal(self, name: str, tensor: Tensor) -> list[str]:
        dtype = tensor.dtype
        shape = "" if tensor.dim() == 1 else f".reshape({tuple(tensor.shape)})"
        if tensor.numel() > SPELT_OUT:
            self._need(UNPACKED, "base64", "zlib")
            raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            text = base64.b64encode(zlib.compress(raw, 9)).decode()
            chunks = textwrap.wrap(text, WIDTH)
            return [f'    {name} = unpacked("""', *chunks, f'""", {dtype}){shape}']
        if not tensor.is_floating_point():
            listed = textwrap.wrap(", ".join(map(str, tensor.reshape(-1).tolist())), WIDTH - 8)
            if len(listed) <= 1:
                inner = "".join(listed)
                return [f"    {name} = torch.tensor([{inner}], dtype={dtype}){shape}"]
            body = [f"        {line}" for line in listed]
            return [f"    {name} = torch.tensor([", *body, f"    ], dtype={dtype}){shape}"]
        self._need(FLOATS)
        words = " ".join(short_hex(value) for value in tensor.reshape(-1).double().tolist())
        listed = textwrap.wrap(words, WIDTH - 8, break_on_hyphens=False)
        if len(listed) <= 1:
            return [f'    {name} = floats("{words}"){shape}.to({dtype})']
        body = [f"        {line}" for line in listed]
        return [f'    {name} = floats("""', *body, f'    """){shape}.to({dtype})']

    def _need(self, helper: tuple[str, ...], *modules: str) -> None:
        if helper[0] not in self.helpers:
            self.helpers += helper
        self.modules += [name for name in modules if name not in self.modules]


def _period(tensor: Tensor) -> int | None:
    """Returns how many rows a tensor of many rows repeats, None where it does not (or hardly) repeat."""
    if tensor.dim() == 0 or len(tensor) < FEWEST_REPEATED:
        return None
    flat = tensor.reshape(len(tensor), -1).view(torch.uint8)
    for period in ((flat[1:] == flat[0]).all(1).nonzero().reshape(-1)[:64] + 1).tolist():
        if 2 * period <= len(flat) and torch.equal(flat[period:], flat[:-period]):
            return int(period)
    return None


def quoted(text: str) -> str:
    """Returns text as a string literal in double quotes where it needs no escapes."""
    # Stored text may hold any character; a carriage return ends a line of Python as well.
    return repr(text) if set(text) & set("\"'\\") or not text.isprintable() else f'"{text}"'


def short_hex(value: float) -> str:
    """Returns a hex float without the zeros that end its significand; `float.fromhex` reads it."""
    head, point, rest = value.hex().partition(".")
    if not point:
        return head
    digits, _, exponent = rest.partition("p")
    digits = digits.rstrip("0")
    return f"{head}.{digits}p{exponent}" if digits else f"{head}p{exponent}"


def indented(lines: list[str], depth: int = 4) -> list[str]:
    """Returns lines one level deeper; `depth` 0 takes the level off that tensors are written with."""
    if depth == 0:
        return [line.removeprefix("    ") for line in lines]
    return [" " * depth + line if line else line for line in lines]
