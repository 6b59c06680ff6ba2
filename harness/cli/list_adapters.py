"""Which adapters of released packages there are, and whether their packages are: looked for, never imported.

They stand apart from the suites of the default sweep, since none of their packages is a dependency. The
trap: an adapter imports its package with its module, so it is listed by its declaration alone and nothing
of it is counted.
"""

from __future__ import annotations

import importlib
from typing import Any

HEADING = (
    "Released packages, asked apart by `nox -s third_party` and never by a sweep that does not name them:"
)


def adapter_forms() -> list[dict[str, Any]]:
    """Returns a row per suite of an adapter: `--suite` reference, what to know, package, presence, session.

    `version` is None where the package is absent or tells none.
    """
    # By name: the harness knows its suites no other way.
    third_party = importlib.import_module("suites.third_party")
    forms: list[dict[str, Any]] = []
    for adapter in third_party.ADAPTERS:
        missing = adapter.missing
        version = None if missing else _version(adapter.package)
        if missing:
            about = f"absent ({', '.join(missing)} not installed); installed and asked by `{adapter.session}`"
        else:
            about = f"present; asked by `{adapter.session}`"
        named = f"{adapter.package} {version}" if version else adapter.package
        forms += [
            {
                "name": reference,
                "about": f"{named}: {about}",
                "package": adapter.package,
                "version": version,
                "present": not missing,
                "session": adapter.session,
            }
            for reference in adapter.suites
        ]
    return forms


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
