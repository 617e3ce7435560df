"""Go's fmt.Sprintf, Sprint and Sprintln over the values of `govalues`."""

from __future__ import annotations

from sampan.cli.template.govalues import Row, Stringer, Struct, general_float, text, type_name
from sampan.cli.template.quoting import quote


def sprint(args: list[object]) -> str:
    """Operands side by side, with a space between two that are not strings."""
    out: list[str] = []
    before_is_string = True
    for index, arg in enumerate(args):
        is_string = isinstance(arg, str)
        if index and not is_string and not before_is_string:
            out.append(" ")
        out.append(_value(arg, set()))
        before_is_string = is_string
    return "".join(out)


def sprintln(args: list[object]) -> str:
    return " ".join(_value(arg, set()) for arg in args) + "\n"


def sprintf(pattern: str, args: list[object]) -> str:
    out: list[str] = []
    at = used = 0
    while at < len(pattern):
        percent = pattern.find("%", at)
        if percent < 0:
            out.append(pattern[at:])
            break
        out.append(pattern[at:percent])
        at = percent + 1
        flags = set[str]()
        while at < len(pattern) and pattern[at] in "+-# 0":
            flags.add(pattern[at])
            at += 1
        width, at, used = _number(pattern, at, args, used)
        precision: int | None = None
        if pattern[at : at + 1] == ".":
            precision, at, used = _number(pattern, at + 1, args, used)
            precision = precision or 0
        verb = pattern[at : at + 1]
        at += 1
        if not verb:
            out.append("%!(NOVERB)")
        elif verb == "%":
            out.append("%")
        elif used >= len(args):
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_pad(_verb(verb, flags, precision, args[used], width), flags, width, verb))
            used += 1
    if used < len(args):
        extra = ", ".join(f"{type_name(arg)}={text(arg)}" if arg is not None else "<nil>" for arg in args[used:])
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _number(pattern: str, at: int, args: list[object], used: int) -> tuple[int | None, int, int]:
    if pattern[at : at + 1] == "*":
        given = args[used] if used < len(args) else None
        return (given if isinstance(given, int) else None), at + 1, used + 1
    start = at
    while at < len(pattern) and pattern[at].isdecimal():
        at += 1
    return (min(int(pattern[start:at]), 1_000_000) if at > start else None), at, used


def _pad(shown: str, flags: set[str], width: int | None, verb: str) -> str:
    if width is None or len(shown) >= abs(width):
        return shown
    fill = abs(width) - len(shown)
    if "-" in flags or width < 0:
        return shown + " " * fill
    if "0" in flags:
        sign = shown[:1] if shown[:1] in ("+", "-") and verb not in "sqvx" else ""
        return sign + "0" * fill + shown[len(sign) :]
    return " " * fill + shown


def _bad(verb: str, arg: object) -> str:
    return f"%!{verb}(<nil>)" if arg is None else f"%!{verb}({type_name(arg)}={text(arg)})"


def _nested(verb: str, flags: set[str], precision: int | None, arg: object, width: int | None) -> str:
    return "<nil>" if arg is None else _verb(verb, flags, precision, arg, width)


def _verb(verb: str, flags: set[str], precision: int | None, arg: object, width: int | None) -> str:
    if verb == "T":
        return type_name(arg)
    if verb == "v":
        return _value(arg, flags)
    if isinstance(arg, bool):
        return text(arg) if verb == "t" else _bad(verb, arg)
    if isinstance(arg, (str, Stringer)) or (isinstance(arg, int) and hasattr(arg, "go_type") and verb in "sq"):
        return _string_verb(verb, flags, precision, str(arg), arg)
    if isinstance(arg, int):
        return _int_verb(verb, flags, arg)
    if isinstance(arg, float):
        return _float_verb(verb, flags, precision, arg)
    if isinstance(arg, list):
        return "[" + " ".join(_nested(verb, flags, precision, item, width) for item in arg) + "]"
    if isinstance(arg, dict):
        pairs = (
            f"{_verb(verb, flags, precision, k, width)}:{_nested(verb, flags, precision, arg[k], width)}"
            for k in sorted(arg)
        )
        return "map[" + " ".join(pairs) + "]"
    if isinstance(arg, Struct):
        inner = " ".join(_nested(verb, flags, precision, item, width) for item in arg.fields.values())
        return ("&" if arg.pointer else "") + "{" + inner + "}"
    return _bad(verb, arg)


def _value(arg: object, flags: set[str]) -> str:
    if "+" in flags and isinstance(arg, Struct):
        shown = "{" + " ".join(f"{name}:{text(item, 1)}" for name, item in arg.fields.items()) + "}"
    elif "#" in flags and isinstance(arg, str):
        return quote(arg)
    else:
        if "+" in flags and isinstance(arg, int) and not isinstance(arg, bool):
            return f"{arg:+d}"
        shown = text(arg)
    return "&" + shown if isinstance(arg, Row) or (isinstance(arg, Struct) and arg.pointer) else shown


def _string_verb(verb: str, flags: set[str], precision: int | None, shown: str, arg: object) -> str:
    if precision is not None:
        shown = shown[:precision]
    if verb == "s":
        return shown
    if verb == "q":
        return "`" + shown + "`" if "#" in flags and "`" not in shown else quote(shown)
    if verb in ("x", "X"):
        digits = shown.encode("utf-8", "surrogateescape").hex(" ") if " " in flags else shown.encode().hex()
        return digits if verb == "x" else digits.upper()
    return _bad(verb, arg)


def _int_verb(verb: str, flags: set[str], arg: int) -> str:
    sign = "-" if arg < 0 else "+" if "+" in flags else " " if " " in flags else ""
    size = abs(int(arg))
    if verb == "d":
        return f"{sign}{size}"
    if verb in ("x", "X", "o", "b"):
        prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}[verb] if "#" in flags else ""
        return f"{sign}{prefix}{size:{verb}}"
    if verb == "O":
        return f"{sign}0o{size:o}"
    if verb in ("c", "q", "U"):
        char = chr(arg) if 0 <= arg < 0x110000 else "\ufffd"
        if verb == "q":
            from sampan.cli.template.quoting import quote_with

            return quote_with(char, "'")
        return char if verb == "c" else f"U+{arg:04X}"
    return _bad(verb, arg)


def _float_verb(verb: str, flags: set[str], precision: int | None, arg: float) -> str:
    sign = "+" if "+" in flags else ""
    if verb in ("f", "F"):
        return f"{arg:{sign}.{6 if precision is None else precision}f}"
    if verb in ("e", "E"):
        return f"{arg:{sign}.{6 if precision is None else precision}{verb}}"
    if verb in ("g", "G"):
        shown = general_float(arg) if precision is None else f"{arg:.{precision}g}"
        return (sign if arg >= 0 else "") + shown
    return _bad(verb, arg)
