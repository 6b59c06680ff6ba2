"""The Ray engine on a stand-in for Ray's interface, and on Ray itself where it is installed."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from collections import deque
from types import SimpleNamespace

import pytest
import torch

from harness.cli import main
from harness.discovery import Selection, discover
from harness.engines import Limits
from harness.errors import UsageError
from harness.probes.timing import Measure
from harness.ray_engine import BATCHES_PER_WORKER, NODE_LOSSES, Cluster, RayEngine
from harness.runner import Order, Runner
from harness.sweep import Sweep, planned
from harness.tests.test_engine import SUITE

NAMES = ("good", "exits_hard", "raises")


class RayError(Exception):
    """As Ray has it, the parent of all."""


class RayTaskError(RayError):
    """What was raised inside a task."""


class LostNodeError(RayError):
    """A node or its process went away."""


class Stream:
    """A generator task: its items are computed when they are asked for; `ends` is raised after so many."""

    def __init__(self, items, ends):
        self.items, self._ends, self._given = items, ends, 0
        self.cancelled = False

    def __next__(self):
        if self._ends is not None and self._given == self._ends[0]:
            raise self._ends[1]
        self._given += 1
        return next(self.items)


class Ray:
    """Ray in this process: one node, tasks one after the other; remembers what each one was given."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, cpus=2.0, gpus=0.0, ends=()):
        self._node = {"Alive": True, "NodeID": "a", "Resources": {"CPU": cpus, "GPU": gpus}}
        self._ends = deque(ends)
        self.options, self.batches, self.streams = [], [], []

    def nodes(self):
        return [{"Alive": False, "NodeID": "b", "Resources": {"CPU": 64.0}}, self._node]

    def remote(self, **options):
        self.options.append(options)
        return lambda function: SimpleNamespace(remote=lambda *given: self._started(function, given))

    def _started(self, function, given):
        # Through JSON, as nothing but plain values may travel.
        self.batches.append(json.loads(json.dumps(given[0])))
        self.streams.append(Stream(function(*given), self._ends.popleft() if self._ends else None))
        return self.streams[-1]

    def wait(self, streams, num_returns, timeout):
        return streams[:num_returns], streams[num_returns:]

    def get(self, item):
        return item

    def cancel(self, stream, force):
        assert force
        stream.cancelled = True
        stream.items.close()


@pytest.fixture
def pinned(monkeypatch):
    """The one module of Ray that is imported by name, as a stand-in."""
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: ("pinned", node, soft))
    for name in ("ray", "ray.util"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)


def driven(folder, ray, *names, probes=("accuracy",), batches=(4,), workers=0, engine=None):
    """Runs some implementations of the misbehaving suite through the Runner."""
    selection = Selection(suites=(str(SUITE),), implementations=names)
    discovered = discover(selection)
    sweep = Sweep(dtypes=("float32",), devices=("cpu",), batches=batches, classes=(3,), probes=probes)
    order = Order(
        folder, selection, workers=workers, limits=Limits(20.0), measure=Measure(processes=2, rounds=2),
        engine=engine or (lambda *given: RayEngine(ray, *given)),
    )  # fmt: skip
    runner = Runner(
        planned(sweep, discovered.suites), discovered, order, torch.__version__, lambda *words: None
    )
    return list(runner.results()), runner


def said(results):
    return {(r.trial.id, r.probe): (r.status, r.reason, r.findings, r.numbers) for r in results}


def test_answers_are_those_of_the_local_engine_and_a_crash_costs_one(tmp_path):
    from harness.engines import LocalEngine

    ray = Ray()
    mine, runner = driven(tmp_path / "ray", ray, *NAMES)
    local, _ = driven(tmp_path / "local", None, *NAMES, workers=1, engine=LocalEngine)
    assert said(mine) == said(local)
    assert {r.trial.implementation: r.status for r in mine} == {
        "good": "ok",
        "exits_hard": "crashed",
        "raises": "ok",
    }
    assert runner.spent_seconds["answers"]["implementation"] > 0
    assert ray.options[0] == {"num_returns": "streaming", "num_cpus": 1, "num_gpus": 0, "max_retries": 0}


def test_tasks_are_dealt_out_to_batches_and_every_block_stays_whole(tmp_path):
    ray = Ray(cpus=1.0)
    rows = tuple(range(2, 14))
    results, _ = driven(tmp_path, ray, "good", batches=rows)
    assert len(ray.batches) == BATCHES_PER_WORKER
    blocks = [form["case"] for batch in ray.batches for message, _, _ in batch for form in message["blocks"]]
    assert len(blocks) == len(set(blocks)) == len(rows)
    assert {r.trial.case.batch for r in results} == set(rows)


def test_what_a_lost_node_had_not_answered_is_asked_again_and_nothing_twice(tmp_path):
    ray = Ray(cpus=1.0, ends=[(1, LostNodeError("node died"))])
    results, _ = driven(tmp_path, ray, "good", "raises")
    assert [r.status for r in results] == ["ok", "ok"]
    assert len({r.trial.id for r in results}) == 2
    first, second = ([question for _, _, open_ in batch for question in open_] for batch in ray.batches)
    assert len(first) == 2
    assert second == [[results[1].trial.id, "accuracy"]]


def test_a_node_that_is_lost_every_time_leaves_its_questions_not_run(tmp_path):
    ray = Ray(ends=[(0, LostNodeError("node died"))] * 9)
    (result,), _ = driven(tmp_path, ray, "good")
    assert (result.status, result.reason) == ("not_run", f"its node was lost {NODE_LOSSES + 1} times")
    assert len(ray.batches) == NODE_LOSSES + 1
    again, _ = driven(tmp_path, Ray(), "good")
    assert [r.status for r in again] == ["ok"], "a resumed run asks what was not run"


def test_a_fault_of_the_engine_on_its_node_is_an_error_at_once(tmp_path):
    ray = Ray(ends=[(0, RayTaskError("Traceback\nImportError: no module named 'harness'"))])
    (result,), _ = driven(tmp_path, ray, "good")
    assert result.status == "error"
    assert result.reason == "the engine failed on its node: ImportError: no module named 'harness'"
    assert len(ray.batches) == 1


def test_timing_takes_all_processors_of_one_node_one_task_at_a_time(tmp_path, pinned):
    ray = Ray(cpus=2.0)
    results, runner = driven(tmp_path, ray, "good", probes=("timing",))
    (timing,) = [r for r in results if r.probe == "timing"]
    assert timing.status == "ok", timing.reason
    assert (timing.numbers["processes"], timing.numbers["samples"]) == (2, 4)
    assert [(o["num_cpus"], o["scheduling_strategy"]) for o in ray.options] == [
        (2.0, ("pinned", "a", False))
    ] * 2
    assert runner.stopwatch.copy_bandwidth > 0


def test_a_result_of_another_processor_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.ray_engine.cpu_name", lambda: "driver's")
    monkeypatch.setattr("harness.ray_node.cpu_name", lambda: "node's")
    (result,), _ = driven(tmp_path, Ray(), "good")
    assert result.notes["node"] == "node's"


def test_closing_the_stream_cancels_what_is_not_finished(tmp_path):
    ray = Ray(cpus=1.0)
    selection = Selection(suites=(str(SUITE),), implementations=("good",))
    discovered = discover(selection)
    sweep = Sweep(
        dtypes=("float32",), devices=("cpu",), batches=(2, 3, 4), classes=(3,), probes=("accuracy",)
    )
    order = Order(tmp_path, selection, workers=0, engine=lambda *given: RayEngine(ray, *given))
    plan = planned(sweep, discovered.suites)
    stream = Runner(plan, discovered, order, torch.__version__, lambda *words: None).results()
    next(stream)
    stream.close()
    assert [s.cancelled for s in ray.streams] == [True, True, True]


def test_a_cluster_too_small_for_the_threads_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="no node of the cluster has 1 processors"):
        driven(tmp_path, Ray(cpus=0.0), "good")


def test_without_ray_the_command_says_what_to_install_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    real = builtins.__import__

    def absent(name, *given, **named):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert main(["run", "--suite", str(SUITE), "--probe", "accuracy", "--engine", "ray"]) == 2
    out, err = capsys.readouterr()
    assert err == "lossgauge: --engine ray: Ray is not installed here; pip install ray.\n"
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_ray_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--suite", str(SUITE), "--probe", "accuracy", "--address", "somewhere"]) == 2
    assert "--address somewhere: is for --engine ray" in capsys.readouterr().err


def test_nothing_at_the_address_is_one_sentence(monkeypatch):
    def refused(**given):
        raise ConnectionError("nothing\nlistens")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=refused))
    with pytest.raises(UsageError, match=r"--address 1\.2\.3\.4:5: cannot connect \(nothing listens\)"):
        Cluster("1.2.3.4:5")


def test_on_ray_itself_the_numbers_are_those_of_the_local_engine(tmp_path):
    pytest.importorskip("ray")
    lines = {}
    code = "import sys; from harness.cli import main; sys.exit(main())"
    flags = "--probe accuracy,timing --dtype float32 --batch 4 --classes 3 --timeout 10s --processes 1"
    flags += " --rounds 2 --min-time 1ms --no-report"
    for engine in ("ray", "local"):
        done = subprocess.run(
            [sys.executable, "-c", code, "-q", "run", "--suite", SUITE, *flags.split(), "--engine", engine,
             "--out", engine, "-f", "impl=good,segfaults,raises"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 3, done.stderr
        stored = (tmp_path / engine / "results.jsonl").read_text().splitlines()
        lines[engine] = {
            (form["trial"], form["probe"]): (
                form["status"], form["reason"], form["findings"],
                form["numbers"].keys() if form["probe"] == "timing" else form["numbers"],
            )
            for form in map(json.loads, stored)
        }  # fmt: skip
    assert lines["ray"] == lines["local"]
