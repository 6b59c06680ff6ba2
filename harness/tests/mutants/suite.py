"""Cross-entropy with every planted fault beside its usual implementations.

`lossgauge run --suite harness/tests/mutants/suite.py -f "impl=m*,c1*"` shows what a user of a faulty
loss would see; `catalogue.planted_suite` has the other families. The trap: it needs a checkout, since
tests are left out of the wheel.
"""

from __future__ import annotations

from harness.tests.mutants.catalogue import CROSS_ENTROPY, planted_suite

SUITE = planted_suite(CROSS_ENTROPY)
