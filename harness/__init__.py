"""lossgauge for suite authors: everything that a plug-in file needs, without importing torch."""

from harness.implementation import Above as Above
from harness.implementation import Contract as Contract
from harness.implementation import Implementation as Implementation
from harness.implementation import Known as Known
from harness.implementation import above as above
from harness.regime import Exhaustive as Exhaustive
from harness.regime import Invalid as Invalid
from harness.regime import Ladder as Ladder
from harness.regime import Regime as Regime
from harness.regime import Variant as Variant
from harness.sample import Sample as Sample
from harness.sample import Shape as Shape
from harness.suite import Blind as Blind
from harness.suite import Evaluate as Evaluate
from harness.suite import Example as Example
from harness.suite import Identity as Identity
from harness.suite import Shapes as Shapes
from harness.suite import Suite as Suite

__version__ = "0.1.0"
