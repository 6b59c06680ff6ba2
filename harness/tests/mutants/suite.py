"""Cross-entropy with every planted fault beside its usual implementations.

`lossgauge run --suite harness/tests/mutants/suite.py -f "impl=m*,c1*"` shows what a user of a faulty
loss would see. The trap: it needs a checkout, since tests are left out of the wheel.
"""

from __future__ import annotations

from harness.tests.mutants.catalogue import CONTROLS, MUTANTS
from suites import cross_entropy

SUITE = cross_entropy.SUITE.extended(*CONTROLS, *(mutant.implementation for mutant in MUTANTS))
