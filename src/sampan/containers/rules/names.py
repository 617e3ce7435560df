"""Container names: what is allowed, and `adjective_surname` for those who give none. Pure."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from sampan.errors import InvalidParameter

_CHARACTERS = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(_CHARACTERS + r"+\Z")

_ADJECTIVE_WORDS = (
    "able agile amber ample azure balmy blithe bold brave breezy bright brisk calm candid careful cheerful clear "
    "clever cosy crisp curious daring deft eager early earnest easy elated fair faithful fearless fleet fond frank "
    "free fresh gallant gentle glad golden graceful grand happy hardy hearty helpful honest hopeful humble jolly "
    "jovial joyful keen kind lively loyal lucid lucky mellow merry mild mindful modest neat nimble noble patient "
    "peaceful placid playful plucky polite prompt proud quick quiet radiant rapid ready rosy serene sharp shy "
    "silent silver sincere smart snug sober spry stable steady stout sunny sure swift tender thrifty tidy trusty "
    "upbeat vivid warm wise witty zesty"
)
_SURNAME_WORDS = (
    "abel agnesi ampere archimedes babbage banneker bassi berners bose boole brahe cai carson celsius chandra "
    "clarke copernicus cray curie dalton darwin davy descartes dijkstra einstein elion erdos euclid euler faraday "
    "fermat fermi feynman fibonacci fleming franklin galilei galois gauss germain goodall hamilton hertz herschel "
    "hooke hopper hubble hypatia jansky joliot kepler khorana knuth kovalevskaya lamarr lavoisier leakey leavitt "
    "lovelace lyell magellan maxwell mayer mccarthy meitner mendel mendeleev mirzakhani napier nash newton nobel "
    "noether ohm pascal pasteur pauling perlman planck poincare ptolemy raman ramanujan ritchie rubin sagan sanger "
    "shannon shen somerville tesla thompson torvalds turing villani volta wiles wilson wozniak wright wu yalow "
    "zheng zu"
)
_ADJECTIVES, _SURNAMES = tuple(_ADJECTIVE_WORDS.split()), tuple(_SURNAME_WORDS.split())


def check(name: str) -> str:
    """The name without Docker's optional leading slash. Raises `InvalidParameter` in Docker's words."""
    bare = name.removeprefix("/")
    if not _NAME.match(bare):
        raise InvalidParameter(f"Invalid container name ({name}), only {_CHARACTERS} are allowed")
    return bare


def generate(taken: Callable[[str], bool], id: str, choose: random.Random | None = None) -> str:
    """A free name; after six tries, each but the first with a digit, the short id."""
    source = choose or random.SystemRandom()
    for attempt in range(6):
        name = f"{source.choice(_ADJECTIVES)}_{source.choice(_SURNAMES)}"
        if attempt:
            name += str(source.randrange(10))
        if not taken(name):
            return name
    return id[:12]
