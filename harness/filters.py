"""Which trials a user means: `-f "impl=naive dtype=float16,bfloat16"` and `-k "naive and not bf16"`.

A filter is a list of `key=value[,value]` or `key!=value[,value]` terms that must all hold; values are
names or shell-style patterns. A keyword expression is matched against the trial id as pytest does:
words joined by and, or, not and brackets. The trap: a misspelt key must be an error, because a
filter that silently matches nothing looks like a clean run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

from harness.errors import UsageError, unknown
from harness.trial import AXES, Trial

KEYS = (*AXES, "implementation", "impl", "trial")
Predicate = Callable[[Trial], bool]
_WORD = re.compile(r"\(|\)|[^\s()]+")


def filter_predicate(texts: tuple[str, ...]) -> Predicate:
    """Returns the predicate of filter texts; raises UsageError for a key that there is not."""
    terms: list[tuple[str, bool, tuple[str, ...]]] = []
    for text in texts:
        for term in text.split():
            match = re.fullmatch(r"([\w-]+)(!?=)(.+)", term)
            if match is None:
                raise UsageError(
                    f"-f {text!r}: {term!r} is not key=value or key!=value; keys: {', '.join(KEYS)}."
                )
            key, sign, values = match.groups()
            if key not in KEYS:
                raise UsageError(unknown(f"-f {text!r}", "key", key, KEYS))
            terms.append((key, sign == "=", tuple(values.split(","))))

    def holds(trial: Trial) -> bool:
        facts = trial.facts()
        return all(
            any(fnmatchcase(facts[key], value) for value in values) is wanted for key, wanted, values in terms
        )

    return holds


def keyword_predicate(expression: str) -> Predicate:
    """Returns the predicate of a keyword expression; raises UsageError for a malformed one."""
    words = _WORD.findall(expression)
    if not words:
        return lambda trial: True
    position = 0

    def peek() -> str | None:
        return words[position] if position < len(words) else None

    def take() -> str:
        nonlocal position
        word = peek()
        if word is None:
            raise UsageError(
                f"-k {expression!r}: ends where a word was expected; e.g. 'naive and not float16'."
            )
        position += 1
        return word

    def either() -> Predicate:
        left = both()
        while peek() == "or":
            take()
            left = _joined(left, both(), any)
        return left

    def both() -> Predicate:
        left = single()
        while peek() == "and":
            take()
            left = _joined(left, single(), all)
        return left

    def single() -> Predicate:
        word = take()
        if word == "not":
            inner = single()
            return lambda trial: not inner(trial)
        if word == "(":
            inner = either()
            if take() != ")":
                raise UsageError(f"-k {expression!r}: an opening bracket is not closed.")
            return inner
        if word in (")", "and", "or"):
            raise UsageError(f"-k {expression!r}: {word!r} stands where a word was expected.")
        return lambda trial: word.lower() in trial.id.lower()

    predicate = either()
    if peek() is not None:
        raise UsageError(f"-k {expression!r}: {peek()!r} is left over; join words by 'and' or 'or'.")
    return predicate


def _joined(left: Predicate, right: Predicate, rule: Callable[[list[bool]], bool]) -> Predicate:
    return lambda trial: rule([left(trial), right(trial)])
