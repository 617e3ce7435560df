"""Splits a Go text/template into items: https://pkg.go.dev/text/template, with the lexer errors of Go 1.24."""

from __future__ import annotations

from sampan.cli.template.quoting import quote

ERROR = "error"
EOF = "EOF"
TEXT = "text"
LEFT_DELIM = "left delim"
RIGHT_DELIM = "right delim"
SPACE = "space"
IDENTIFIER = "identifier"
FIELD = "field"
VARIABLE = "variable"
BOOL = "bool"
CHAR_CONSTANT = "char constant"
CHAR = "char"
NUMBER = "number"
STRING = "string"
RAW_STRING = "raw string"
PIPE = "|"
DECLARE = ":="
ASSIGN = "="
LEFT_PAREN = "("
RIGHT_PAREN = ")"
DOT = "."
KEYWORDS = frozenset(("block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"))

_SPACES = " \t\r\n"


class Item:
    """One token: its kind, its text, the byte-like offset where it starts and its line (from 1)."""

    __slots__ = ("kind", "line", "pos", "value")

    def __init__(self, kind: str, value: str, pos: int, line: int) -> None:
        self.kind = kind
        self.value = value
        self.pos = pos
        self.line = line

    def __str__(self) -> str:
        if self.kind == EOF:
            return "EOF"
        if self.kind == ERROR:
            return self.value
        if self.kind in KEYWORDS or self.kind == DOT:
            return f"<{self.value}>"
        if len(self.value) > 10:
            return quote(self.value[:10]) + "..."
        return quote(self.value)


class _Unlexable(Exception):
    pass


class Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.start = 0
        self.line = 1
        self.parens = 0
        self.items: list[Item] = []

    def run(self) -> list[Item]:
        """All items; the last one is EOF or an error, after which nothing is read."""
        try:
            while self._text():
                self._action()
            self.start = self.pos
            self._emit(EOF)
        except _Unlexable as error:
            self.items.append(Item(ERROR, str(error), self.start, self.line))
        return self.items

    def _emit(self, kind: str) -> None:
        value = self.text[self.start : self.pos]
        self.items.append(Item(kind, value, self.start, self.line))
        self.line += value.count("\n")
        self.start = self.pos

    def _skip(self) -> None:
        self.line += self.text.count("\n", self.start, self.pos)
        self.start = self.pos

    def _text(self) -> bool:
        """Plain text up to the next action; False at the end of the input."""
        text = self.text
        at = text.find("{{", self.pos)
        if at < 0:
            self.pos = len(text)
            if self.pos > self.start:
                self._emit(TEXT)
            return False
        end = at
        if text[at + 2 : at + 3] == "-" and text[at + 3 : at + 4] in tuple(_SPACES):
            end = self.start + len(text[self.start : at].rstrip(_SPACES))
        self.pos = end
        if self.pos > self.start:
            self._emit(TEXT)
        self.pos = at
        self._skip()
        return True

    def _action(self) -> None:
        text = self.text
        trim = (
            2 if text[self.pos + 2 : self.pos + 3] == "-" and text[self.pos + 3 : self.pos + 4] in tuple(_SPACES) else 0
        )
        if text.startswith("/*", self.pos + 2 + trim):
            self._comment(self.pos + 2 + trim)
            return
        self.pos += 2
        self._emit(LEFT_DELIM)
        self.pos += trim
        self._skip()
        self.parens = 0
        while self._inside():
            pass

    def _comment(self, at: int) -> None:
        end = self.text.find("*/", at + 2)
        if end < 0:
            raise _Unlexable("unclosed comment")
        self.pos = end + 2
        delim, trim = self._right_delim()
        if not delim:
            raise _Unlexable("comment ends before closing delimiter")
        self._close(trim)

    def _close(self, trim: bool) -> None:
        """Move past a right delimiter whose item, if any, was emitted by the caller's choice."""
        if trim:
            self.pos += 2
        self.pos += 2
        if trim:
            while self.pos < len(self.text) and self.text[self.pos] in _SPACES:
                self.pos += 1
        self._skip()

    def _right_delim(self) -> tuple[bool, bool]:
        text, pos = self.text, self.pos
        if text[pos : pos + 1] in tuple(_SPACES) and text.startswith("-}}", pos + 1):
            return True, True
        return text.startswith("}}", pos), False

    def _inside(self) -> bool:
        text = self.text
        delim, trim = self._right_delim()
        if delim:
            if self.parens:
                raise _Unlexable("unclosed left paren")
            if trim:
                self.pos += 2
                self._skip()
            self.pos += 2
            self._emit(RIGHT_DELIM)
            if trim:
                while self.pos < len(text) and text[self.pos] in _SPACES:
                    self.pos += 1
                self._skip()
            return False
        if self.pos >= len(text):
            raise _Unlexable("unclosed action")
        c = text[self.pos]
        self.pos += 1
        if c in _SPACES:
            self._space()
        elif c == "=":
            self._emit(ASSIGN)
        elif c == ":":
            if text[self.pos : self.pos + 1] != "=":
                raise _Unlexable("expected :=")
            self.pos += 1
            self._emit(DECLARE)
        elif c == "|":
            self._emit(PIPE)
        elif c == '"':
            self._quoted('"', STRING, "unterminated quoted string")
        elif c == "`":
            end = text.find("`", self.pos)
            if end < 0:
                raise _Unlexable("unterminated raw quoted string")
            self.pos = end + 1
            self._emit(RAW_STRING)
        elif c == "$":
            self._field_or_variable(VARIABLE)
        elif c == "'":
            self._quoted("'", CHAR_CONSTANT, "unterminated character constant")
        elif c == "." and self.pos < len(text) and not _is_digit(text[self.pos]):
            self._field_or_variable(FIELD)
        elif c in "+-." or _is_digit(c):
            self.pos -= 1
            self._number()
        elif _is_alnum(c):
            self._identifier()
        elif c == "(":
            self.parens += 1
            self._emit(LEFT_PAREN)
        elif c == ")":
            self.parens -= 1
            if self.parens < 0:
                raise _Unlexable("unexpected right paren")
            self._emit(RIGHT_PAREN)
        elif " " < c <= "~":
            self._emit(CHAR)
        else:
            raise _Unlexable(f"unrecognized character in action: {_unicode_name(c)}")
        return True

    def _space(self) -> None:
        while self.pos < len(self.text) and self.text[self.pos] in _SPACES:
            self.pos += 1
        if self.text.startswith("-}}", self.pos):
            # the last space belongs to the trim marker
            self.pos -= 1
            if self.pos == self.start:
                return
        self._emit(SPACE)

    def _quoted(self, end: str, kind: str, message: str) -> None:
        text = self.text
        while True:
            c = text[self.pos : self.pos + 1]
            if c in ("", "\n"):
                raise _Unlexable(message)
            if c == "\\":
                if text[self.pos + 1 : self.pos + 2] in ("", "\n"):
                    raise _Unlexable(message)
                self.pos += 2
                continue
            self.pos += 1
            if c == end:
                self._emit(kind)
                return

    def _at_terminator(self) -> bool:
        c = self.text[self.pos : self.pos + 1]
        return c == "" or c in " \t\r\n.,|:()" or self.text.startswith("}}", self.pos)

    def _word(self) -> None:
        while self.pos < len(self.text) and _is_alnum(self.text[self.pos]):
            self.pos += 1
        if not self._at_terminator():
            raise _Unlexable(f"bad character {_unicode_name(self.text[self.pos])}")

    def _field_or_variable(self, kind: str) -> None:
        if self._at_terminator():
            self._emit(VARIABLE if kind == VARIABLE else DOT)
            return
        self._word()
        self._emit(kind)

    def _identifier(self) -> None:
        self._word()
        word = self.text[self.start : self.pos]
        self._emit(word if word in KEYWORDS else BOOL if word in ("true", "false") else IDENTIFIER)

    def _number(self) -> None:
        good = self._scan_number()
        if good and self.text[self.pos : self.pos + 1] in ("+", "-"):  # a complex constant, 1+2i
            good = self._scan_number() and self.text[self.pos - 1] == "i"
        if not good:
            raise _Unlexable(f"bad number syntax: {quote(self.text[self.start : self.pos])}")
        self._emit(NUMBER)

    def _scan_number(self) -> bool:
        text = self.text
        if text[self.pos : self.pos + 1] in ("+", "-"):
            self.pos += 1
        digits = "0123456789_"
        if text[self.pos : self.pos + 1] == "0":
            prefix = text[self.pos + 1 : self.pos + 2].lower()
            if prefix and prefix in "xob":
                digits = {"x": "0123456789abcdefABCDEF_", "o": "01234567_", "b": "01_"}[prefix]
                self.pos += 2
        self._accept_run(digits)
        if text[self.pos : self.pos + 1] == ".":
            self.pos += 1
            self._accept_run(digits)
        exponent = text[self.pos : self.pos + 1]
        if exponent and ((len(digits) == 11 and exponent in "eE") or (len(digits) == 23 and exponent in "pP")):
            self.pos += 1
            if text[self.pos : self.pos + 1] in ("+", "-"):
                self.pos += 1
            self._accept_run("0123456789_")
        if text[self.pos : self.pos + 1] == "i":
            self.pos += 1
        if self.pos < len(text) and _is_alnum(text[self.pos]):
            self.pos += 1
            return False
        return True

    def _accept_run(self, valid: str) -> None:
        while self.pos < len(self.text) and self.text[self.pos] in valid:
            self.pos += 1


def _is_digit(c: str) -> bool:
    return "0" <= c <= "9"


def _is_alnum(c: str) -> bool:
    return c == "_" or c.isalpha() or c.isdecimal()


def _unicode_name(c: str) -> str:
    """Go's %#U: the code point, and the character where it prints."""
    return f"U+{ord(c):04X} '{c}'" if c.isprintable() else f"U+{ord(c):04X}"
