"""The tree of a template. `str(node)` is the node as Go writes it in error messages."""

from __future__ import annotations

from sampan.cli.template.quoting import quote


class Node:
    """`pos` is the offset in the template's text that an error points to."""

    __slots__ = ("pos",)

    def __init__(self, pos: int) -> None:
        self.pos = pos


class Text(Node):
    __slots__ = ("text",)

    def __init__(self, pos: int, text: str) -> None:
        self.pos = pos
        self.text = text

    def __str__(self) -> str:
        return self.text


class Identifier(Node):
    __slots__ = ("name",)

    def __init__(self, pos: int, name: str) -> None:
        self.pos = pos
        self.name = name

    def __str__(self) -> str:
        return self.name


class Field(Node):
    """`.a.b`: names without their dots."""

    __slots__ = ("names",)

    def __init__(self, pos: int, names: list[str]) -> None:
        self.pos = pos
        self.names = names

    def __str__(self) -> str:
        return "." + ".".join(self.names)


class Variable(Node):
    """`$x.a.b`: the variable's name with its dollar first."""

    __slots__ = ("names",)

    def __init__(self, pos: int, names: list[str]) -> None:
        self.pos = pos
        self.names = names

    def __str__(self) -> str:
        return ".".join(self.names)


class Chain(Node):
    """`(pipeline).a.b`"""

    __slots__ = ("names", "node")

    def __init__(self, pos: int, node: Node, names: list[str]) -> None:
        self.pos = pos
        self.node = node
        self.names = names

    def __str__(self) -> str:
        base = f"({self.node})" if isinstance(self.node, Pipe) else str(self.node)
        return base + "".join("." + name for name in self.names)


class Dot(Node):
    __slots__ = ()

    def __str__(self) -> str:
        return "."


class Nil(Node):
    __slots__ = ()

    def __str__(self) -> str:
        return "nil"


class Bool(Node):
    __slots__ = ("value",)

    def __init__(self, pos: int, value: bool) -> None:
        self.pos = pos
        self.value = value

    def __str__(self) -> str:
        return "true" if self.value else "false"


class Number(Node):
    """A constant: `value` where any type will do, `integer` where an int is wanted (1e3 is both)."""

    __slots__ = ("integer", "text", "value")

    def __init__(self, pos: int, text: str, value: int | float | complex) -> None:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        self.integer = int(value) if whole and not isinstance(value, complex) else None
        self.pos = pos
        self.text = text
        self.value = value

    def __str__(self) -> str:
        return self.text


class String(Node):
    __slots__ = ("quoted", "text")

    def __init__(self, pos: int, quoted: str, text: str) -> None:
        self.pos = pos
        self.quoted = quoted
        self.text = text

    def __str__(self) -> str:
        return self.quoted


class Command(Node):
    __slots__ = ("args",)

    def __init__(self, pos: int) -> None:
        self.pos = pos
        self.args: list[Node] = []

    def __str__(self) -> str:
        return " ".join(f"({arg})" if isinstance(arg, Pipe) else str(arg) for arg in self.args)


class Pipe(Node):
    __slots__ = ("assigns", "commands", "variables")

    def __init__(self, pos: int) -> None:
        self.pos = pos
        self.assigns = False
        self.variables: list[str] = []
        self.commands: list[Command] = []

    def __str__(self) -> str:
        head = ""
        if self.variables:
            head = ", ".join(self.variables) + (" = " if self.assigns else " := ")
        return head + " | ".join(str(command) for command in self.commands)


class Action(Node):
    __slots__ = ("pipe",)

    def __init__(self, pos: int, pipe: Pipe) -> None:
        self.pos = pos
        self.pipe = pipe

    def __str__(self) -> str:
        return "{{" + str(self.pipe) + "}}"


class Items(Node):
    __slots__ = ("nodes",)

    def __init__(self, pos: int) -> None:
        self.pos = pos
        self.nodes: list[Node] = []

    def __str__(self) -> str:
        return "".join(str(node) for node in self.nodes)


class Branch(Node):
    """`if`, `range` and `with`: `kind` says which."""

    __slots__ = ("body", "kind", "otherwise", "pipe")

    def __init__(self, pos: int, kind: str, pipe: Pipe, body: Items, otherwise: Items | None) -> None:
        self.pos = pos
        self.kind = kind
        self.pipe = pipe
        self.body = body
        self.otherwise = otherwise

    def __str__(self) -> str:
        otherwise = "" if self.otherwise is None else "{{else}}" + str(self.otherwise)
        return "{{" + f"{self.kind} {self.pipe}" + "}}" + str(self.body) + otherwise + "{{end}}"


class Template(Node):
    __slots__ = ("name", "pipe")

    def __init__(self, pos: int, name: str, pipe: Pipe | None) -> None:
        self.pos = pos
        self.name = name
        self.pipe = pipe

    def __str__(self) -> str:
        pipe = "" if self.pipe is None else f" {self.pipe}"
        return "{{template " + quote(self.name) + pipe + "}}"


class Mark(Node):
    """`end`, `else`, `break` or `continue`."""

    __slots__ = ("word",)

    def __init__(self, pos: int, word: str) -> None:
        self.pos = pos
        self.word = word

    def __str__(self) -> str:
        return "{{" + self.word + "}}"
