"""The expressions of a template: pipelines, fields, methods and function calls, with Go's messages and places."""

from __future__ import annotations

from sampan.cli.template import nodes
from sampan.cli.template.functions import CallError, Function, accepts, call_of
from sampan.cli.template.govalues import NilPointer, Row, Struct, is_true, text, type_name
from sampan.cli.template.parser import TemplateError
from sampan.cli.template.quoting import quote

_MISSING = object()
"""No final argument comes down the pipeline."""


class Evaluator:
    """What one execution knows: the functions, the variables in sight, and the node it is at, which an error names."""

    def __init__(self, source: str, name: str, root: nodes.Node, functions: dict[str, Function], strict: bool) -> None:
        self.source = source
        self.template_name = name
        self.functions = functions
        self.strict = strict
        self.name = name
        """Of the template being executed, which `{{template}}` changes."""
        self.node = root
        self.variables: list[tuple[str, object]] = []
        self.boxed = False
        """Whether dot came out of an interface (an element of a []interface {})."""

    def error(self, message: str) -> TemplateError:
        source, pos = self.source, self.node.pos
        line_start = source.rfind("\n", 0, pos)
        line = 1 + source.count("\n", 0, pos)
        # Go counts bytes, not characters
        column = len(source[line_start + 1 : pos].encode("utf-8", "surrogateescape"))
        return TemplateError(
            f"template: {self.template_name}:{line}:{column}: executing {quote(self.name)} at <{self.node}>: {message}"
        )

    def pipeline(self, dot: object, pipe: nodes.Pipe) -> object:
        self.node = pipe
        value: object = _MISSING
        for command in pipe.commands:
            value = self.command(dot, command, value)
        for name in pipe.variables:
            if pipe.assigns:
                self.assign(name, value)
            else:
                self.variables.append((name, value))
        return value

    def command(self, dot: object, command: nodes.Command, final: object) -> object:
        first = command.args[0]
        if isinstance(first, nodes.Field):
            self.node = first
            return self.fields(dot, dot, first, first.names, command.args, final, self.boxed)
        if isinstance(first, nodes.Chain):
            return self.chain(dot, first, command.args, final)
        if isinstance(first, nodes.Identifier):
            self.node = first
            return self.function(dot, first, command, command.args, final)
        if isinstance(first, nodes.Pipe):
            self.not_a_function(command.args, final)
            return self.pipeline(dot, first)
        if isinstance(first, nodes.Variable):
            return self.variable(dot, first, command.args, final)
        self.node = first
        self.not_a_function(command.args, final)
        if isinstance(first, nodes.Dot):
            return dot
        if isinstance(first, nodes.Nil):
            raise self.error("nil is not a command")
        if isinstance(first, (nodes.Bool, nodes.Number)):
            return first.value
        if isinstance(first, nodes.String):
            return first.text
        raise self.error(f"can't evaluate command {quote(str(first))}")

    def not_a_function(self, args: list[nodes.Node], final: object) -> None:
        if len(args) > 1 or final is not _MISSING:
            raise self.error(f"can't give argument to non-function {args[0]}")

    def variable(self, dot: object, node: nodes.Variable, args: list[nodes.Node], final: object) -> object:
        self.node = node
        value: object = None
        for name, held in reversed(self.variables):
            if name == node.names[0]:
                value = held
                break
        if len(node.names) == 1:
            self.not_a_function(args, final)
            return value
        return self.fields(dot, value, node, node.names[1:], args, final, False)

    def chain(self, dot: object, node: nodes.Chain, args: list[nodes.Node], final: object) -> object:
        self.node = node
        if isinstance(node.node, nodes.Nil):
            raise self.error(f"indirection through explicit nil in {node}")
        value = self.argument(dot, "any", node.node)
        return self.fields(dot, value, node, node.names, args, final, False)

    def fields(
        self,
        dot: object,
        value: object,
        node: nodes.Node,
        names: list[str],
        args: list[nodes.Node],
        final: object,
        boxed: bool,
    ) -> object:
        last = len(names) - 1
        for index, name in enumerate(names):
            container = value
            value = self.field(
                dot, name, node, args if index == last else [], final if index == last else _MISSING, container, boxed
            )
            boxed = type(container) is dict
        return value

    def field(
        self,
        dot: object,
        name: str,
        node: nodes.Node,
        args: list[nodes.Node],
        final: object,
        value: object,
        boxed: bool,
    ) -> object:
        has_args = len(args) > 1 or final is not _MISSING
        if isinstance(value, Row):
            if name in value.arity:
                return self.method(dot, value, name, node, args, final)
            if name in value.fields:
                return value.fields[name]
            if name in value.unexported:
                raise self.error(f"{name} is an unexported field of struct type {type_name(value)}")
        elif isinstance(value, Struct):
            found, held = value.find(name)
            if found:
                if has_args:
                    raise self.error(f"{name} has arguments but cannot be invoked as function")
                return held
        elif isinstance(value, dict) and name not in getattr(value, "go_methods", ()):
            if getattr(value, "key", "string") != "string":
                raise self.error(f"can't evaluate field {name} in type {type_name(value)}")
            if has_args:
                raise self.error(f"{name} is not a method but has arguments")
            if name in value:
                return value[name]
            if self.strict:
                raise self.error(f"map has no entry for key {quote(name)}")
            return None
        elif value is None:
            if boxed:
                raise self.error(f"nil pointer evaluating interface {{}}.{name}")
            if self.strict:
                raise self.error(f"nil data; no entry for key {quote(name)}")
            return None
        elif isinstance(value, NilPointer) and not value.go_type.startswith("*formatter."):
            raise self.error(f"nil pointer evaluating {value.go_type}.{name}")
        method = getattr(value, "go_methods", {}).get(name)
        if method is not None:
            wanted = method.__code__.co_argcount - 1
            return method(value, *self.method_arguments(dot, name, node, args, final, wanted))
        raise self.error(f"can't evaluate field {name} in type {'interface {}' if boxed else type_name(value)}")

    def method(
        self, dot: object, row: Row, name: str, node: nodes.Node, args: list[nodes.Node], final: object
    ) -> object:
        values = self.method_arguments(dot, name, node, args, final, row.arity[name])
        return getattr(row, name)(*values)

    def method_arguments(
        self, dot: object, name: str, node: nodes.Node, args: list[nodes.Node], final: object, wanted: int
    ) -> list[object]:
        """What a method is called with: strings, as all those of docker's formats take."""
        given = max(len(args) - 1, 0) + (final is not _MISSING)
        if given != wanted:
            raise self.error(f"wrong number of args for {name}: want {wanted} got {given}")
        values = self.arguments(dot, args[1:], ("string",) * wanted, "")
        if final is not _MISSING:
            values.append(self.validate(final, "string"))
        self.node = node
        return values

    def function(
        self, dot: object, node: nodes.Identifier, command: nodes.Node, args: list[nodes.Node], final: object
    ) -> object:
        name = node.name
        function = self.functions[name]
        given = len(args) - 1 + (final is not _MISSING)
        if function.rest:
            if given < len(function.kinds):
                raise self.error(f"wrong number of args for {name}: want at least {len(function.kinds)} got {given}")
        elif given != len(function.kinds):
            raise self.error(f"wrong number of args for {name}: want {len(function.kinds)} got {given}")
        if name in ("and", "or"):
            return self.and_or(dot, name, args[1:], final)
        values = self.arguments(dot, args[1:], function.kinds, function.rest)
        if final is not _MISSING:
            kind = function.kinds[len(values)] if len(values) < len(function.kinds) else function.rest
            values.append(self.validate(final, kind))
        call = function.call
        if name == "call":
            call = call_of(str(args[1]) if len(args) > 1 else text(final))
        try:
            return call(*values)
        except CallError as error:
            self.node = command
            raise self.error(f"error calling {name}: {error}") from None

    def and_or(self, dot: object, name: str, args: list[nodes.Node], final: object) -> object:
        value: object = None
        for arg in args:
            value = self.argument(dot, "any", arg)
            if is_true(value) == (name == "or"):
                return value
        return value if final is _MISSING else final

    def arguments(self, dot: object, args: list[nodes.Node], kinds: tuple[str, ...], rest: str) -> list[object]:
        return [self.argument(dot, kinds[i] if i < len(kinds) else rest, arg) for i, arg in enumerate(args)]

    def argument(self, dot: object, kind: str, node: nodes.Node) -> object:
        self.node = node
        if isinstance(node, nodes.Dot):
            return self.validate(dot, kind)
        if isinstance(node, nodes.Nil):
            if kind in ("string", "int"):
                raise self.error(f"cannot assign nil to {kind}")
            return None
        if isinstance(node, nodes.Field):
            return self.validate(self.fields(dot, dot, node, node.names, [node], _MISSING, self.boxed), kind)
        if isinstance(node, nodes.Variable):
            return self.validate(self.variable(dot, node, [], _MISSING), kind)
        if isinstance(node, nodes.Pipe):
            return self.validate(self.pipeline(dot, node), kind)
        if isinstance(node, nodes.Identifier):
            return self.validate(self.function(dot, node, node, [node], _MISSING), kind)
        if isinstance(node, nodes.Chain):
            return self.validate(self.chain(dot, node, [], _MISSING), kind)
        return self.constant(kind, node)

    def constant(self, kind: str, node: nodes.Node) -> object:
        if kind == "any":
            if isinstance(node, nodes.String):
                return node.text
            if isinstance(node, (nodes.Bool, nodes.Number)):
                return node.value
        elif kind == "string":
            if isinstance(node, nodes.String):
                return node.text
            raise self.error(f"expected string; found {node}")
        elif kind == "int":
            if isinstance(node, nodes.Number) and node.integer is not None:
                return node.integer
            raise self.error(f"expected integer; found {node}")
        raise self.error(f"can't handle {node} for arg of type {kind}")

    def validate(self, value: object, kind: str) -> object:
        if value is None:
            if self.strict and kind != "any":  # a null of the JSON, in its interface
                raise self.error(f"wrong type for value; expected {kind}; got interface {{}}")
            if kind == "any" or kind.startswith("[]"):
                return None if kind == "any" else []
            raise self.error(f"invalid value; expected {kind}")
        if not accepts(kind, value):
            raise self.error(f"wrong type for value; expected {kind}; got {type_name(value)}")
        return value

    def assign(self, name: str, value: object) -> None:
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return
        raise self.error(f"undefined variable: {name}")
