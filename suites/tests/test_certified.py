"""Every suite that ships is certified: random rows of every variant x regime x dtype against Arb balls."""

from __future__ import annotations

import pytest

from harness.discovery import Selection, discover
from harness.oracle.certification import certificates
from harness.sample import Shape

SUITES = dict(discover(Selection()).suites)


@pytest.mark.parametrize("name", SUITES)
def test_random_rows_of_every_cell_keep_the_stated_bound(name):
    suite = SUITES[name]
    for certificate in certificates([suite], shapes=(Shape(5, 7),)):
        assert certificate.tier is not None, certificate.reason
        assert certificate.misses == ()
        # Two rows of every cell at least; a regime may be undefined under some variants, never under most.
        assert certificate.rows >= 4 * len(suite.variants) * len(suite.regimes)
        assert certificate.worst < 1
