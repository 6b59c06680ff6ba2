"""What does compiling cost? Graphs, graph breaks, recompiles, and seconds to the first answer.

The first forward and backward are timed from a reset compiler: cold when the compiler's cache missed,
warm when it answered every look-up. A cold compile is followed by a warm one; where the cache is
filled already, a few artefacts are compiled once more in a fresh cache directory, and the note says
so. The trap: without `fail_on_recompile_limit_hit` dynamo falls back to
eager in silence and the measured artefact is not the compiled one.
"""

from __future__ import annotations

import time

import torch

from harness.block import Answer, OpenBlock, reset_compiler
from harness.calling import failure, gradients_of, leaves
from harness.outcome import severity
from harness.results import Finding
from harness.standard import upstream_for

NAME = "compilation"


def compilation(block: OpenBlock, name: str) -> Answer:
    """Compiles one implementation for the case and counts what the compiler did."""
    if not block.suite.implementation(name).compiled:
        return Answer("unsupported", "is not compiled")
    # Dynamo takes a second to import: only workers that compile pay for it.
    from torch._dynamo.utils import counters

    numbers: dict[str, float] = {}
    notes: dict[str, str] = {}
    try:
        first = _first_answer_seconds(block, name)
        hits, misses = counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"]
        graphs = counters["stats"]["unique_graphs"]
        breaks = sum(counters["graph_break"].values())
        why = "; ".join(list(counters["graph_break"])[:3])
        if misses:
            numbers["cold_compile_seconds"] = first
            notes["cold"] = f"{misses} of {hits + misses} compiler cache look-ups missed"
            numbers["warm_compile_seconds"] = _first_answer_seconds(block, name)
        else:
            numbers["warm_compile_seconds"] = first
            notes["cold"] = "not measured: the compiler's cache already held this artefact"
        before = counters["stats"]["unique_graphs"]
        for _ in range(2):
            _answer(block, name)
        recompiles = counters["stats"]["unique_graphs"] - before
        if not misses and _represents(block):
            numbers["cold_compile_seconds"] = _fresh_cache_seconds(block, name)
            notes["cold"] = "measured in a fresh cache directory"
    except Exception as error:
        status, reason = failure(error)
        return Answer(status or "skipped", reason or "raises; see accuracy")
    numbers |= {"graphs": float(graphs), "graph_breaks": float(breaks), "recompiles": float(recompiles)}
    findings = []
    if breaks:
        message = f"{breaks} graph breaks: {why}"
        findings.append(Finding("graph_break", severity("graph_break"), NAME, "graph", message))
    if recompiles:
        message = f"{recompiles} recompilations in two more calls of the same shape"
        findings.append(Finding("recompiles", severity("recompiles"), NAME, "graph", message))
    return Answer("ok", "", tuple(findings), numbers, notes)


def _represents(block: OpenBlock) -> bool:
    """Tells whether a case is one of the few that are compiled cold although the cache is filled."""
    case, suite = block.case, block.suite
    usual = case.shape == suite.shapes.usual and case.variant == suite.variants[0].name
    return usual and case.dtype == "float32"


def _fresh_cache_seconds(block: OpenBlock, name: str) -> float:
    from torch._inductor.utils import fresh_cache

    with fresh_cache():
        seconds = _first_answer_seconds(block, name)
    # What was compiled there is gone with the folder: the next answer must come from the real cache.
    reset_compiler()
    block.forget(name)
    return seconds


def _first_answer_seconds(block: OpenBlock, name: str) -> float:
    from torch._dynamo.utils import counters

    reset_compiler()
    counters.clear()
    block.forget(name)
    start = time.perf_counter()
    with block.ledger.spending("implementation"):
        _answer(block, name)
    return time.perf_counter() - start


def _answer(block: OpenBlock, name: str) -> None:
    sample, options = block.drawn()
    asked = leaves(sample, block.case.device)
    upstream = upstream_for(sample, options)
    loss = block.bound(name).loss(asked.tensors)
    gradients_of(loss, asked, None if upstream is None else upstream.to(block.case.device, loss.dtype))
    if block.case.device == "cuda":
        torch.cuda.synchronize()


def warm_up_compiler() -> None:
    """Compiles a trifle once: imports and compiler probes of a process belong to no artefact."""
    leaf = torch.ones(8, requires_grad=True)
    torch.compile(lambda x: (2 * x).sum(), dynamic=False)(leaf).backward()
    reset_compiler()
