"""A suite file as a collector: its examples, identities, trials and Known entries, or its timed cases.

The trap: this module imports torch, so it is imported when a suite file has been found and not before.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from harness.errors import HarnessError
from harness.pytest_examples import examples_of
from harness.pytest_items import calm, loaded
from harness.pytest_settings import SETTINGS
from harness.pytest_timed import timed_cases_of
from harness.pytest_trials import trials_of


class SuiteFile(pytest.Module):
    """A file that declares SUITE, as a collector.

    A Module without a module object, as pytest's own text doctests are: fixtures of module scope,
    autouse ones of a project's conftest among them, need a Module above the timed functions.
    """

    obj = None

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Yields the tests; a broken suite is one sentence without a traceback."""
        settings = self.config.stash[SETTINGS]
        try:
            with calm():
                suite = loaded(self.path, settings)
                parts = (timed_cases_of,) if settings.timed else (examples_of, trials_of)
                return [item for part in parts for item in part(self, suite, settings)] if suite else []
        except HarnessError as error:
            raise self.CollectError(str(error)) from None
