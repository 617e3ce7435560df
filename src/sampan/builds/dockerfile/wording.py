"""Messages as BuildKit words them: "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable

_NEAR = 3
"""From this edit distance on, a name is no suggestion."""


def suggestion(word: str, options: Iterable[str], ignore_case: bool = False) -> str:
    """The nearest of `options`; "" when none is near, or `word` is one of them: then the name was not the mistake."""
    wanted = word.lower() if ignore_case else word
    best, nearest = "", _NEAR
    for option in options:
        option = option.lower() if ignore_case else option
        if option == wanted:
            return ""
        if abs(len(option) - len(wanted)) < nearest and (away := _distance(wanted, option)) < nearest:
            best, nearest = option, away
    if ignore_case and word == word.upper() and word != word.lower():
        return best.upper()
    return best


def did_you_mean(message: str, word: str, options: Iterable[str], ignore_case: bool = False) -> str:
    found = suggestion(word, options, ignore_case)
    return f"{message} (did you mean {found}?)" if found else message


def _distance(first: str, second: str) -> int:
    """Levenshtein's."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
