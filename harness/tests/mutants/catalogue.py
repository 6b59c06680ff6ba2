"""Every planted fault in the order of the kill matrix, and the suites that they are planted into.

Each family's suite is extended by its mutants; its own controls, and those that a mutant stands on, run
beside them. The trap: an implementation's name is unique in its family alone, a mutant's in the whole
catalogue, because the matrix counts by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from harness.suite import Suite
from harness.tests.mutants.families import (
    binary,
    cheats,
    classes,
    cross_entropy,
    focal,
    likelihoods,
    pairs,
    projections,
    residuals,
    sequences,
    thresholds,
)
from harness.tests.mutants.mutant import Mutant

CROSS_ENTROPY = "cross_entropy"
CONTROLS = cross_entropy.CONTROLS


def _place(mutant: Mutant) -> tuple[bool, str, int]:
    """Cross-entropy first, then by the list of real bugs."""
    return mutant.family != CROSS_ENTROPY, mutant.row[0].translate({ord("m"): "a"}), int(mutant.row[1:])


MUTANTS: tuple[Mutant, ...] = tuple(
    sorted(
        (
            *cross_entropy.MUTANTS,
            *cheats.MUTANTS,
            *binary.MUTANTS,
            *focal.MUTANTS,
            *residuals.MUTANTS,
            *thresholds.MUTANTS,
            *pairs.MUTANTS,
            *classes.MUTANTS,
            *projections.MUTANTS,
            *likelihoods.MUTANTS,
            *sequences.MUTANTS,
        ),
        key=_place,
    )
)
PLANTED: Mapping[str, Mutant] = MappingProxyType({mutant.name: mutant for mutant in MUTANTS})
FAMILIES = tuple(dict.fromkeys(mutant.family for mutant in MUTANTS))


def mutants_of(family: str) -> tuple[Mutant, ...]:
    """Returns the mutants of a family."""
    return tuple(mutant for mutant in MUTANTS if mutant.family == family)


def planted_suite(family: str) -> Suite:
    """Returns the suite of a family with its mutants and the controls that they stand on."""
    suite: Suite = import_module(f"suites.{family}").SUITE
    grounds = CONTROLS if family == CROSS_ENTROPY else ()
    return suite.extended(*grounds, *(mutant.implementation for mutant in mutants_of(family)))
