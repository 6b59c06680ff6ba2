"""A reproduction as a Python script that needs torch only: fails by AssertionError, or exits 0.

A head that says what was found, the copied source of the implementation, then `main`: the exact
inputs, the options, the call and the assertion. The trap: everything but the copied source stands
inside `main`, so that no name of the script can replace a global of the implementation.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.calling import missing_option
from harness.implementation import Implementation
from harness.outcome import KINDS
from harness.reproducer.assertion import retold
from harness.reproducer.questions import lines_of
from harness.reproducer.reproduction import NoReproducerError, Reproduction
from harness.reproducer.scene import Scene
from harness.reproducer.sources import Sources, UnwritableError, options_taken
from harness.reproducer.tensors import TensorText, indented, quoted

WIDTH = 98


def script(
    found: Reproduction,
    *,
    identity: Mapping[str, Any],
    command: str,
    stand_in: Implementation | None = None,
) -> str:
    """Returns the script of a reproduction, or the same script with another implementation in its place.

    Where the source of a callable cannot be had the script finds it as the run did, which needs this
    software. Raises NoReproducerError when the callable cannot be written in any way.
    """
    implementation = stand_in or found.implementation
    if stand_in is not None:
        asked = {**found.suite.options, **found.given}
        if (missing := missing_option(stand_in, asked, found.suite.options)) is not None:
            raise NoReproducerError(f"show --stand-in {stand_in.name}: takes no option {missing}.")
    sources = Sources()
    tensors = TensorText()
    inputs = [
        line
        for name, tensor in found.stand.sample.named.items()
        for line in tensors.written(f"inputs[{quoted(name)}]", tensor)
    ]
    taken = options_taken(implementation.function, implementation.accepts, found.stand.options, found.given)
    options, build, passes = _building(implementation, taken, tensors, sources, found)
    scene = Scene(found, tensors, build, passes, _reading(implementation, sources))
    # Before the helpers are listed: an assertion can need one more tensor.
    question = indented(lines_of(scene))
    body = [
        f"    torch.set_num_threads({found.threads})",
        *([""] if tensors.helpers else []),
        *tensors.helpers,
        "",
        f"    # {_rows_in_words(found)}",
        "    inputs = {}",
        *inputs,
        *_prepared_inputs(found),
        "",
        *options,
        *question,
    ]
    copied = sources.lines()
    head = ["from __future__ import annotations", ""] if sources.postponed_annotations else []
    modules = [f"import {name}" for name in sorted({*tensors.modules, *scene.modules})]
    return "\n".join(
        [
            *_head(found, identity, command, stand_in),
            *head,
            *modules,
            "import torch",
            *copied,
            "",
            "",
            "def main():",
            *body,
            "",
            "",
            'if __name__ == "__main__":',
            "    main()",
            "",
        ]
    )


def _head(
    found: Reproduction, identity: Mapping[str, Any], command: str, stand_in: Implementation | None
) -> list[str]:
    finding = found.finding
    lines = [
        f"trial    {found.trial.id}",
        f"finding  {finding.severity} {finding.kind} [{finding.group}] {finding.message}",
        f"means    {KINDS[finding.kind].sentence}",
        f"measured torch {identity.get('torch')}, CPU capability {identity.get('aten_capability')}, "
        f"Python {identity.get('python')}, on {identity.get('cpu')}",
        f"made by  {command}",
    ]
    if stand_in is not None:
        lines.append(f"NOTE     {stand_in.name} stands in the place of {found.implementation.name}")
    if not found.again:
        why = "it may depend on the calls before it" if retold(finding) else ""
        why = (
            f"the script ends in {' '.join(found.instead.split())} before it can tell"
            if found.instead
            else why
        )
        lines.append(
            f"NOTE     this machine did not show the finding again{'; ' * bool(why)}{why}; "
            "the script holds the whole batch"
        )
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * 9, break_long_words=False)
    ]
    return [f"# {line}" for line in wrapped]


def _rows_in_words(found: Reproduction) -> str:
    kept, drawn = found.kept, found.rows_drawn
    where = f"seed {found.seed}, rounded to {found.trial.case.dtype}"
    if not found.kept:
        return f"The rows that the question is about ({where})."
    if len(kept) == drawn:
        return f"All {drawn} rows that were drawn ({where})."
    if len(kept) == 1:
        return f"Row {kept[0]} of {drawn} ({where}); this row alone shows the finding."
    return f"Rows {kept[0]} to {kept[-1]} of {drawn} ({where}); neither half of them shows the finding."


def _prepared_inputs(found: Reproduction) -> list[str]:
    device, sample = found.trial.case.device, found.stand.sample
    moved = f".to({device!r})" if device != "cpu" else ""
    lines = [f"    inputs = {{name: tensor{moved} for name, tensor in inputs.items()}}"] if moved else []
    return lines + [f"    inputs[{quoted(name)}].requires_grad_(True)" for name in sample.gradients]


def _building(
    implementation: Implementation,
    taken: Mapping[str, Any],
    tensors: TensorText,
    sources: Sources,
    found: Reproduction,
) -> tuple[list[str], list[str], bool]:
    """Returns the lines that make the options, those that bind `call`, and whether it takes options."""
    device = found.trial.case.device
    options = ["    options = {}"]
    for name, value in taken.items():
        if isinstance(value, Tensor):
            options += tensors.written(f"options[{quoted(name)}]", value)
            options += (
                [f"    options[{quoted(name)}] = options[{quoted(name)}].to({device!r})"]
                if device != "cpu"
                else []
            )
        else:
            options.append(f"    options[{quoted(name)}] = {_expression(sources, value)}")
    function, prepare = implementation.function, implementation.prepare
    try:
        written = sources.expression(function)
    except UnwritableError as error:
        if found.selection is None:
            raise NoReproducerError(
                f"show {found.trial.id} --repro: the source of {implementation.name} cannot be had: {error}."
            ) from None
        options += [f"    # Not written out: {error}.", *indented(_discovered(found, implementation.name))]
        written = "implementation"
    if prepare is None:
        if isinstance(function, type) and issubclass(function, torch.nn.Module):
            return options, [f"call = {written}(**options)"], False
        return options, [f"call = {written}"], True
    built = _expression(sources, prepare)
    if _takes_two(prepare):
        return options, [f"call = {built}({written}, options)"], False
    return options, [f"call = {built}({written})"], True


def _discovered(found: Reproduction, name: str) -> list[str]:
    """Returns lines that find an implementation the way a run does, for sources that cannot be copied."""
    assert found.selection is not None
    return [
        "from harness.discovery import Selection, discover  # needs lossgauge",
        f"found = discover(Selection.from_json({found.selection.to_json()!r}))",
        f"implementation = found.suites[{found.suite.name!r}].implementation({name!r}).function",
    ]


def _expression(sources: Sources, value: Any) -> str:
    try:
        return sources.expression(value)
    except UnwritableError as error:
        raise NoReproducerError(f"show --repro: {error}; it cannot be part of a script.") from None


def _takes_two(prepare: Any) -> bool:
    try:
        inspect.signature(prepare).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def _reading(implementation: Implementation, sources: Sources) -> list[str]:
    """Returns the lines that pick the loss out of what was answered."""
    reads = implementation.reads
    if callable(reads):
        return [f"loss = {_expression(sources, reads)}(loss)"]
    if reads is not None:
        return [f"loss = loss[{reads!r}]"]
    return [
        "if isinstance(loss, (tuple, list, dict)):",
        "    loss = next(iter(loss.values() if isinstance(loss, dict) else loss))",
    ]
