"""`lossgauge list` shows the adapters of released packages apart, and imports none of the packages.

Absence and presence are made: a package here is a file that fails when it is imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.list_adapters import HEADING, adapter_forms
from suites.third_party import ADAPTERS, Adapter

REFERENCES = [reference for adapter in ADAPTERS for reference in adapter.suites]
MODULES = [module for adapter in ADAPTERS for module in adapter.modules]


class Absence:
    """Finds none of the packages, as a machine without them does."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absence, *sys.meta_path])


@pytest.fixture
def kornia_that_must_not_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "kornia", raising=False)
    (tmp_path / "kornia.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    folder = tmp_path / "kornia-0.9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kornia\nVersion: 0.9.9\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("nothing_installed")
def test_adapters_stand_below_the_suites_with_the_session_that_asks_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list"]) == 0
    suites, _, apart = capsys.readouterr().out.partition(f"\n\n{HEADING}\n")
    assert "third_party" not in suites
    assert [line.split()[0] for line in apart.splitlines()] == REFERENCES
    assert (
        "  entmax: absent (entmax not installed); installed and asked by `nox -s third_party -- entmax`\n"
        in apart
    )


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(("flags", "key"), [([], "name"), (["--table"], "suite")])
def test_in_json_they_follow_the_suites_and_say_whether_they_can_be_asked(
    flags: list[str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--json", *flags]) == 0
    rows = json.loads(capsys.readouterr().out)
    apart = rows[-len(REFERENCES) :]
    assert [row[key] for row in apart] == REFERENCES
    assert not any("present" in row for row in rows[: -len(REFERENCES)])
    for row in apart:
        assert row["present"] is False
        assert row["version"] is None
        assert row["session"] == f"nox -s third_party -- {row['package']}"


@pytest.mark.parametrize("layout", ["text", "csv", "md"])
def test_the_table_of_counts_names_them_uncounted(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", layout, "list", "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    counted = next(place for place, line in enumerate(lines) if " suites" in line)
    for reference in REFERENCES:
        (place,) = [place for place, line in enumerate(lines) if reference in line]
        assert place > counted


@pytest.mark.parametrize("flags", [[], ["--table"], ["--json"]])
def test_who_names_a_suite_is_shown_no_adapters(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--suite", "l1", *flags]) == 0
    assert "third_party" not in capsys.readouterr().out


def test_a_package_that_is_there_is_told_with_its_version_and_not_imported(
    kornia_that_must_not_be_imported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "adapters"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "third_party.kornia" in line]
    assert len(lines) == 3
    assert all(
        line.endswith("kornia 0.9.9: present; asked by `nox -s third_party -- kornia`") for line in lines
    )
    assert "kornia" not in sys.modules


@pytest.mark.usefixtures("kornia_that_must_not_be_imported")
def test_a_module_of_its_own_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    halved = Adapter("kornia", ("kornia", "surely_missing"), ("suites.third_party.kornia:SUITE",))
    monkeypatch.setattr("suites.third_party.ADAPTERS", (halved,))
    (form,) = adapter_forms()
    assert (form["present"], form["version"]) == (False, None)
    assert "surely_missing not installed" in form["about"]


def test_listing_them_loads_neither_torch_nor_a_package() -> None:
    code = (
        "import sys; from harness.cli import main; code = main(); sys.stdout.flush()\n"
        "print(code, sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "adapters"], capture_output=True, text=True, timeout=240
    )
    assert done.stderr.startswith("0 "), done.stderr
    assert [name for name in ("torch", "numpy", *MODULES) if f"'{name}'" in done.stderr] == []
