"""Is an invalid input refused? The call in a script, in a child of its own where it ends the process.

Which invalid input ended a worker, and on how many threads, the engine cannot know; a script asks
them in the order of the probe, most threads first, and fails at the first that ends its child. The
trap: what happens depends on the number of rows, not on what they hold, so a few rows are repeated.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace

import torch

from harness.probes.invalid_input import FEW_ROWS, ROWS
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.retelling import Retelling, Rows, with_sample
from harness.reproducer.scene import Scene
from harness.reproducer.tensors import indented, quoted
from harness.results import Finding
from harness.sample import batch_axis
from harness.standard import Standard
from harness.trial import Case

_ASKED = re.compile(r"at (\d+) rows and (\d+) threads(?:$|; )")
IN_A_CHILD = "in a child"


def _asked(finding: Finding) -> tuple[int, int]:
    """Returns rows and threads of an accepted input, which its message says."""
    match = _ASKED.search(finding.message)
    return (int(match[1]), int(match[2])) if match else (FEW_ROWS, 1)


def _case_of(case: Case, finding: Finding) -> Case:
    return replace(case, batch=_asked(finding)[0])


def _invalid_stand(block: Rows) -> Standard:
    """Returns the standard of the valid rows with the invalid ones in the script."""
    found = [invalid for invalid in block.suite.invalid if invalid.name == block.finding.group]
    if not found:
        raise NoReproducerError(
            f"show --repro: suite {block.suite.name!r} has no invalid input {block.finding.group} any more."
        )
    whole, options = block.whole().drawn()
    changed = found[0].change(whole, options)
    return with_sample(block.plain(), block.cut(changed))


def _accepted(scene: Scene) -> list[str]:
    finding = scene.found.finding
    return [
        *scene.build,
        "try:",
        "    with torch.no_grad():",
        *indented(scene.called(), 8),
        "        answer = float(loss.double().sum())",
        "except Exception:",
        "    return  # It is refused, which is right.",
        f"about = {quoted(finding.message.partition(': answers')[0])}",
        'assert answer != answer, f"{about}: answers {answer!r}, an invalid input with a number"',
    ]


def _uneven(scene: Scene) -> list[str]:
    return [
        *scene.build,
        "",
        "def manner():",
        "    try:",
        "        with torch.no_grad():",
        *indented(scene.called(), 12),
        "            answer = float(loss.double().sum())",
        "    except Exception:",
        '        return "raises"',
        '    return "answers a number" if answer == answer else "answers NaN"',
        "",
        "compiled = manner()",
        'with torch.compiler.set_stance("force_eager"):',
        "    plain = manner()",
        'message = f"an invalid input: {compiled} compiled and {plain} as it is"',
        "assert compiled == plain, message",
    ]


def _many_rows(block: Rows) -> Standard:
    """Returns the standard of a few rows with as many repeated ones as end a process in the script."""
    stand = block.plain()
    sample = stand.sample
    first = sample.tensors[0]
    entries = first.shape[batch_axis(first, sample.layout)]
    times = torch.arange(max(1, ROWS * entries // sample.shape.batch)) % entries
    return with_sample(stand, sample.taken(times))


def _few_rows(case: Case, finding: Finding) -> Case:
    return replace(case, batch=min(case.batch, FEW_ROWS))


def _changes(scene: Scene) -> list[str]:
    """Returns the lines of `invalid`, the tensors that differ from `inputs` for each invalid input."""
    stand = scene.found.stand
    lines = ["invalid = {}"]
    for each in scene.found.suite.invalid:
        changed = each.change(scene.sample, stand.options)
        lines.append(f"invalid[{quoted(each.name)}] = {{}}")
        for name, tensor in changed.named.items():
            before = scene.sample[name]
            if tensor.shape != before.shape or tensor.dtype != before.dtype:
                lines += scene.tensor(f"invalid[{quoted(each.name)}][{quoted(name)}]", tensor)
                continue
            places = (tensor != before).nonzero().tolist()
            if places:
                target = f"invalid[{quoted(each.name)}][{quoted(name)}]"
                lines.append(f"{target} = inputs[{quoted(name)}].detach().clone()")
                lines += [
                    f"{target}[{', '.join(map(str, at))}] = {_literal(tensor[tuple(at)].item())}"
                    for at in places
                ]
    return lines


def _literal(value: float) -> str:
    """Returns a number as Python writes it; NaN and infinities are names of nothing there."""
    return repr(value) if math.isfinite(value) else f"float({quoted(str(value))})"


def _killed(scene: Scene) -> list[str]:
    scene.modules.extend(["subprocess", "sys"])
    threads = list(dict.fromkeys((min(4, os.cpu_count() or 1), 1)))
    return [
        *_changes(scene),
        f"if sys.argv[1:2] == [{quoted(IN_A_CHILD)}]:",
        "    torch.set_num_threads(int(sys.argv[2]))",
        *indented(scene.build),
        "    for name, changed in invalid.items():",
        "        print(name, flush=True)",
        "        inputs = {**inputs, **changed}",
        "        try:",
        "            with torch.no_grad():",
        *indented(scene.called(), 16),
        "        except Exception:",
        "            pass  # It is refused, which is right.",
        "    return",
        f"for threads in {threads!r}:",
        f"    command = [sys.executable, __file__, {quoted(IN_A_CHILD)}, str(threads)]",
        "    child = subprocess.run(command, capture_output=True, text=True)",
        '    last = " ".join(child.stdout.split()[-1:])',
        '    message = f"ended the process on an invalid input: {last} on {threads} threads, return code '
        '{child.returncode}"',
        "    assert child.returncode == 0, message",
    ]


ACCEPTS_INVALID = Retelling(
    _accepted,
    _invalid_stand,
    case=_case_of,
    anchor=lambda finding, count: count - 1,
    threads=lambda case, finding: _asked(finding)[1],
)
ERROR_PARITY = replace(ACCEPTS_INVALID, lines=_uneven)
KILLS_PROCESS = Retelling(_killed, _many_rows, case=_few_rows, cut=False)
