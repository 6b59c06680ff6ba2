"""Configuration: every error at once with its path, and where each value came from."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.axes import DEFAULTS, settle
from harness.config import duration_seconds, load_config, parse_config, share
from harness.errors import UsageError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for key in DEFAULTS:
        monkeypatch.delenv(f"LOSSGAUGE_{key.upper()}", raising=False)
    return tmp_path


def test_init_writes_a_file_that_is_valid_with_every_line_uncommented(here, capsys):
    assert main(["init"]) == 0
    assert capsys.readouterr().out == "wrote lossgauge.toml\n"
    path = here / "lossgauge.toml"
    assert load_config(None)[0].sweep.profile == "quick"
    head, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    assert all(line.startswith("#") for line in head.splitlines())
    path.write_text("\n".join(line.removeprefix("# ") for line in body.splitlines()), encoding="utf-8")
    config, label = load_config(None)
    assert label == "lossgauge.toml"
    form = tomllib.loads(path.read_text(encoding="utf-8"))
    written = {*form["sweep"], *form["measure"]}
    assert written == {*DEFAULTS}, "the template names every setting and no other"
    assert config.measure.min_time == DEFAULTS["min_time"]
    assert config.measure.max_noise == DEFAULTS["max_noise"]
    assert config.sweep.exclude == ({"impl": "naive_loop", "classes": 32000},)


def test_init_overwrites_only_when_it_is_forced(here, capsys):
    (here / "lossgauge.toml").write_text("mine", encoding="utf-8")
    assert main(["init"]) == 2
    assert "lossgauge.toml is already here; --force overwrites it." in capsys.readouterr().err
    assert (here / "lossgauge.toml").read_text() == "mine"
    assert main(["init", "--force"]) == 0
    assert (here / "lossgauge.toml").read_text().startswith("# lossgauge.toml")


def test_configuration_errors_are_listed_all_at_once_with_their_paths(here, capsys):
    (here / "lossgauge.toml").write_text(
        '[sweep]\ndtpye = ["float32"]\nbatch = [1, "two"]\nvariant = "mean"\n'
        '[measure]\nmin_time = "soon"\nrounds = 0\ndirection = "up"\n[sweeep]\n',
        encoding="utf-8",
    )
    assert main(["plan"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for words in (
        "lossgauge.toml: ",
        "sweep.dtpye: there is no such key. Did you mean 'dtype'? Allowed: profile, suite, ",
        "sweep.batch.1 = 'two': ",
        "sweep.variant = 'mean': write a list, ['mean']",
        "measure.min_time = 'soon': 'soon' is not a duration",
        "measure.rounds = 0: ",
        "measure.direction = 'up': 'up' is not a direction; write fwd, bwd or both",
        "sweeep: there is no such key. Did you mean 'sweep'? Allowed: sweep, measure",
    ):
        assert words in err


def test_a_file_that_is_no_toml_is_named(here):
    (here / "mine.toml").write_text("[sweep\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"^mine\.toml: is not TOML: "):
        load_config(Path("mine.toml"))


def test_a_flag_beats_the_environment_beats_the_file_beats_the_project_beats_the_default(here, monkeypatch):
    def settled(**flags):
        found = settle(flags)
        return found.values["rounds"], found.sources["rounds"]["source"]

    assert settled() == (16, "default")
    (here / "pyproject.toml").write_text("[tool.lossgauge.measure]\nrounds = 5\nseed = 3\n", encoding="utf-8")
    assert settled() == (5, "pyproject.toml")
    (here / "lossgauge.toml").write_text("[measure]\nrounds = 6\n", encoding="utf-8")
    assert settled() == (6, "lossgauge.toml")
    monkeypatch.setenv("LOSSGAUGE_ROUNDS", "7")
    assert settled() == (7, "LOSSGAUGE_ROUNDS")
    assert settled(rounds=8) == (8, "--rounds")


def test_a_setting_that_only_the_project_file_has_is_not_lost_to_a_configuration_file(here):
    (here / "pyproject.toml").write_text("[tool.lossgauge.measure]\nseed = 3\n", encoding="utf-8")
    (here / "lossgauge.toml").write_text("[measure]\nrounds = 6\n", encoding="utf-8")
    found = settle({})
    assert (found.values["seed"], found.sources["seed"]["source"]) == (3, "pyproject.toml")
    assert (found.values["rounds"], found.sources["rounds"]["source"]) == (6, "lossgauge.toml")


def test_environment_values_go_through_the_checks_of_the_file(here, monkeypatch):
    monkeypatch.setenv("LOSSGAUGE_DTYPE", "float32,float64")
    monkeypatch.setenv("LOSSGAUGE_BATCH", "4,8")
    monkeypatch.setenv("LOSSGAUGE_MIN_TIME", "250ms")
    values = settle({}).values
    assert (values["dtype"], values["batch"], values["min_time"]) == (("float32", "float64"), (4, 8), 0.25)
    monkeypatch.setenv("LOSSGAUGE_ROUNDS", "many")
    with pytest.raises(UsageError, match=r"^LOSSGAUGE_ROUNDS: measure\.rounds = 'many': "):
        settle({})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.2s", 0.2), ("10m", 600.0), ("250ms", 0.25), ("2 h", 7200.0), ("3", 3.0), (4, 4.0)],
)
def test_durations(text, seconds):
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize(("text", "value"), [("2%", 0.02), ("0.5", 0.5), (0.1, 0.1), (" 3 % ", 0.03)])
def test_shares(text, value):
    assert share(text) == pytest.approx(value)


def test_an_empty_configuration_is_the_default():
    assert parse_config({}, "x").sweep.exclude == ()
