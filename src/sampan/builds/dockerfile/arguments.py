"""What stands after an instruction's keyword, taken apart: flags, words, `key=value`, JSON. No variables yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NoReturn

from sampan.builds.dockerfile import spaces
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.golang import quote


def split_keyword(line: str) -> tuple[str, str]:
    """`RUN`, and the rest."""
    keyword, *rest = spaces.fields(spaces.strip(line), 2)
    return keyword, rest[0] if rest else ""


def split_flags(text: str, escape: str) -> tuple[list[str], str]:
    """The words at the front that begin with `--`, quotes resolved, and what follows. `--` alone ends them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position] in spaces.SPACES:
            position += 1
        if not text.startswith("--", position):
            return flags, spaces.strip(text[position:])
        word, quoted, position = _flag(text, position, escape)
        if word == "--":
            return flags, spaces.strip(text[position:])
        if word or quoted:
            flags.append(word)


def _flag(text: str, position: int, escape: str) -> tuple[str, bool, int]:
    """One word, whether any of it was quoted, where it ends."""
    word: list[str] = []
    quote_character = ""
    quoted = False
    while position < len(text):
        character = text[position]
        if not quote_character and character in spaces.SPACES:
            break
        position += 1
        if character == quote_character:
            quote_character = ""
        elif not quote_character and character in "'\"":
            quote_character, quoted = character, True
        elif character == escape:
            word.append(text[position : position + 1])
            position += 1
        else:
            word.append(character)
    return "".join(word), quoted, position


def quoted_words(text: str, escape: str) -> list[str]:
    """Split at spaces outside quotes. Quotes and escapes stay: they mean something when variables are replaced."""
    if escape not in text and "'" not in text and '"' not in text:
        return spaces.words(text)
    found: list[str] = []
    word: list[str] = []
    quote_character = ""
    characters = iter(text)
    for character in characters:
        if not quote_character and character in spaces.SPACES:
            if word:
                found.append("".join(word))
            word = []
            continue
        if character == quote_character:
            quote_character = ""
        elif not quote_character and character in "'\"":
            quote_character = character
        if character == escape and quote_character != "'":
            _escaped(character, characters, word)
            continue
        word.append(character)
    if word:
        found.append("".join(word))
    return found


def _escaped(escape: str, characters: Iterator[str], word: list[str]) -> None:
    following = next(characters, "")
    if following:  # an escape at the very end is dropped
        word.append(escape + following)


def key_values(text: str, instruction: str, escape: str) -> list[tuple[str, str, bool]]:
    """`a=b c=d`, or the old `a b c` which is one: key, value, whether it was the old form."""
    words = quoted_words(text, escape)
    if not words:
        return []
    if "=" not in words[0]:
        parts = spaces.fields(text, 2)
        if len(parts) < 2:
            raise DockerfileError(f"{instruction} must have two arguments")
        return [(parts[0], parts[1], True)]
    pairs: list[tuple[str, str, bool]] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise DockerfileError(f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value")
        pairs.append((key, value, False))
    return pairs


def json_list(text: str) -> list[str] | None:
    """The strings of a JSON list; None when it is not JSON, which is then a shell's `[`.

    Raises `DockerfileError` for a list of anything but strings."""
    text = spaces.strip_left(text)
    if not text.startswith("["):
        return None
    try:
        items = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in items):
        raise DockerfileError("when using JSON array syntax, arrays must be comprised of strings only")
    # Halves of surrogate pairs are legal JSON and no text: Go makes U+FFFD of them.
    return [item.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for item in items]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
