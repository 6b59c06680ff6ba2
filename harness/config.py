"""TOML to settings: every error at once, with its path, and where each effective value came from.

Precedence: flag > environment LOSSGAUGE_* > lossgauge.toml > [tool.lossgauge] in pyproject.toml >
default. Unknown keys are errors with a suggestion. The trap: pydantic takes a fifth of a second to
import, so this module is imported inside the verbs that need it, never at `--help`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.errors import UsageError, suggestion

CONFIG_NAME = "lossgauge.toml"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_seconds(text: str | float) -> float:
    """Returns the seconds of "0.2s", "10m", "250ms" or a bare number; raises ValueError for other text."""
    if isinstance(text, int | float):
        return float(text)
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write 0.2s, 90s or 10m")
    return float(match.group(1)) * _SECONDS[match.group(2) or "s"]


def positive(seconds: float) -> float:
    """Returns a time above zero; raises ValueError for zero and below."""
    if not seconds > 0:
        raise ValueError(f"{seconds:g} s is not a time to wait or measure; write more than 0s")
    return seconds


def share(text: str | float) -> float:
    """Returns the share of "2%" or a bare number; raises ValueError for other text."""
    if isinstance(text, int | float):
        return float(text)
    stripped = text.strip()
    try:
        return float(stripped[:-1]) / 100 if stripped.endswith("%") else float(stripped)
    except ValueError:
        raise ValueError(f"{text!r} is not a share; write 2% or 0.02") from None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SweepTable(_Table):
    """[sweep]: the axes; the product is swept, None leaves an axis to the profile."""

    profile: str | None = None
    suite: tuple[str, ...] | None = None
    impl: tuple[str, ...] | None = None
    variant: tuple[str, ...] | None = None
    regime: tuple[str, ...] | None = None
    dtype: tuple[str, ...] | None = None
    device: tuple[str, ...] | None = None
    batch: tuple[int, ...] | None = None
    classes: tuple[int, ...] | None = None
    threads: tuple[int, ...] | None = None
    probe: tuple[str, ...] | None = None
    exclude: tuple[dict[str, Any], ...] = ()


class MeasureTable(_Table):
    """[measure]: how long and how often."""

    direction: str | None = None
    min_time: float | None = None
    max_noise: float | None = None
    budget_time: float | None = None
    timeout: float | None = None
    rounds: int | None = Field(default=None, ge=1)
    processes: int | None = Field(default=None, ge=1)
    workers: int | None = Field(default=None, ge=1)
    seed: int | None = None

    @field_validator("min_time", "budget_time", "timeout", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> Any:
        return None if value is None else positive(duration_seconds(value))

    @field_validator("max_noise", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        return None if value is None else share(value)

    @field_validator("direction")
    @classmethod
    def _direction(cls, value: str | None) -> str | None:
        if value is not None and value not in ("fwd", "bwd", "both"):
            raise ValueError(f"{value!r} is not a direction; write fwd, bwd or both")
        return value


class Config(_Table):
    """A whole configuration file."""

    sweep: SweepTable = SweepTable()
    measure: MeasureTable = MeasureTable()


def parse_config(form: Mapping[str, Any], label: str) -> Config:
    """Returns the checked configuration; raises UsageError that lists every error with its path."""
    try:
        return Config.model_validate(form)
    except ValidationError as error:
        sentences = []
        for item in error.errors():
            path = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                known = _known_keys(item["loc"][:-1])
                hint = suggestion(str(item["loc"][-1]), known)
                sentences.append(f"{path}: there is no such key.{hint} Allowed: {', '.join(known)}")
            elif item["type"] == "tuple_type":
                sentences.append(f"{path} = {item['input']!r}: write a list, {[item['input']]!r}")
            else:
                sentences.append(f"{path} = {item['input']!r}: {item['msg'].removeprefix('Value error, ')}")
        raise UsageError(f"{label}: " + "; ".join(sentences) + ".") from None


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    table: Any = Config
    for part in path:
        if isinstance(part, str) and part in table.model_fields:
            inner = table.model_fields[part].annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                table = inner
    return list(table.model_fields)


def load_config(path: Path | None) -> tuple[Config, str]:
    """Returns the configuration and the label of where it came from; searches the working directory."""
    if path is not None and not path.exists():
        raise UsageError(f"--config {path}: there is no such file; `lossgauge init` writes one.")
    chosen = path or (Path(CONFIG_NAME) if Path(CONFIG_NAME).exists() else None)
    if chosen is not None:
        return parse_config(_toml(chosen), chosen.name), chosen.name
    return project_config() or (Config(), "default")


def project_config() -> tuple[Config, str] | None:
    """Returns [tool.lossgauge] of the working directory's pyproject.toml, None where there is none."""
    project = Path("pyproject.toml")
    table = _toml(project).get("tool", {}).get("lossgauge") if project.exists() else None
    if table is None:
        return None
    return parse_config(table, "pyproject.toml [tool.lossgauge]"), "pyproject.toml"


def load_layers(path: Path | None) -> list[tuple[Config, str]]:
    """Returns the configuration files that count, nearest first; the first that has a key wins."""
    nearest = load_config(path)
    project = project_config()
    return [nearest] if project is None or project[1] == nearest[1] else [nearest, project]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: is not TOML: {error}.") from None


def effective(
    flags: Mapping[str, Any], layers: Sequence[tuple[Config, str]], defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Returns every setting's value, and {value, source} of each for the manifest."""
    tables = [({**c.sweep.model_dump(), **c.measure.model_dump()}, label) for c, label in layers]
    values: dict[str, Any] = {}
    sources: dict[str, dict[str, Any]] = {}
    for key, default in defaults.items():
        variable = f"LOSSGAUGE_{key.upper()}"
        if flags.get(key) is not None:
            value, source = flags[key], f"--{key.replace('_', '-')}"
        elif variable in os.environ:
            value, source = _from_environment(key, os.environ[variable], variable), variable
        else:
            stated = ((table[key], label) for table, label in tables if table.get(key) not in (None, ()))
            value, source = next(stated, (default, "default"))
        values[key] = value
        sources[key] = {"value": list(value) if isinstance(value, tuple) else value, "source": source}
    return values, sources


def _from_environment(key: str, text: str, variable: str) -> Any:
    """Reads an environment value through the same checks as the file."""
    table = "measure" if key in MeasureTable.model_fields else "sweep"
    field: Any = text
    annotation = str((MeasureTable if table == "measure" else SweepTable).model_fields[key].annotation)
    if "tuple" in annotation:
        field = tuple(part for part in text.split(",") if part)
    checked = parse_config({table: {key: field}}, variable)
    return getattr(getattr(checked, table), key)
