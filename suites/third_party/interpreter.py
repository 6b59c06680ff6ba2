"""Triton's interpreter, ready for kernels of other packages: numbers arrive in a kernel as they do on a
device.

Compiled, a Python float among the arguments of a kernel is a float32 scalar; the interpreter of Triton 3.9
hands the Python float through, on which `.to(tl.float32)` fails. So that nobody is accused of that, floats
become scalars here, as integers do there. Left as it is: arithmetic on bfloat16, which the interpreter does
not have (Triton's documentation says so) and answers with nonsense. The trap: `TRITON_INTERPRET` is read
when a kernel is decorated, so this comes before the import of any package with kernels, and never where
CUDA is there.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np
import torch

from suites.third_party import package


def device() -> str:
    """Returns where Triton's kernels run: "cuda" where it is there, else "cpu", interpreted from now on."""
    if torch.cuda.is_available():
        return "cuda"
    os.environ["TRITON_INTERPRET"] = "1"
    package("triton", "triton")
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    convert = interpreter._implicit_cvt
    if not getattr(convert, "makes_scalars", False):
        interpreter._implicit_cvt = _making_scalars(interpreter, convert)
    return "cpu"


def _making_scalars(interpreter: Any, convert: Any) -> Any:
    language = interpreter.tl

    def made(argument: Any) -> Any:
        if type(argument) is not float:
            return convert(argument)
        handle = interpreter.TensorHandle(np.array([argument], dtype=np.float32), language.float32)
        return language.tensor(handle, language.float32)

    made.makes_scalars = True  # type: ignore[attr-defined]
    return made
