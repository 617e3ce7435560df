"""Parses Go text/template into a tree of nodes; errors are worded and placed as Go 1.24 does."""

from __future__ import annotations

from sampan.cli.template import lexer, nodes
from sampan.cli.template.lexer import Item, Lexer
from sampan.cli.template.quoting import quote, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

_TERMS = frozenset(
    (
        lexer.BOOL, lexer.CHAR_CONSTANT, lexer.DOT, lexer.FIELD, lexer.IDENTIFIER, lexer.NUMBER, "nil",
        lexer.RAW_STRING, lexer.STRING, lexer.VARIABLE, lexer.LEFT_PAREN,
    )
)  # fmt: skip
_NOT_CALLABLE = (nodes.Bool, nodes.Dot, nodes.Nil, nodes.Number, nodes.String)


class TemplateError(Exception):
    """A template that cannot be parsed or executed, worded as Go words it (`template: :1: …`).

    `partial` is what had been written when the execution failed.
    """

    partial = ""


def parse(text: str, functions: Container[str], name: str = "") -> dict[str, nodes.Items]:
    """Every template that `text` defines, by name; the text's own is `name`. Raises TemplateError."""
    parser = Parser(text, functions, name)
    try:
        return parser.parse()
    except RecursionError:
        raise TemplateError(f"template: {name}:1: template nested too deeply") from None


class Parser:
    def __init__(self, text: str, functions: Container[str], name: str) -> None:
        self.text = text
        self.name = name
        self.functions = functions
        self.items = Lexer(text).run()
        self.at = 0
        self.line = 1
        self.action_line = 0
        self.range_depth = 0
        self.variables = ["$"]
        self.templates: dict[str, nodes.Items] = {}
        self._actions: dict[str, Callable[[Item], nodes.Node]] = {
            "if": self._control, "range": self._control, "with": self._control, "end": self._end,
            "else": self._else, "break": self._loop_word, "continue": self._loop_word,
            "template": self._template, "block": self._block, "define": self._misplaced_define,
        }  # fmt: skip

    # items

    def _next(self) -> Item:
        item = self.items[min(self.at, len(self.items) - 1)]
        self.at += 1
        self.line = item.line
        return item

    def _peek(self) -> Item:
        item = self.items[min(self.at, len(self.items) - 1)]
        self.line = item.line
        return item

    def _skip_space(self) -> None:
        while self._peek().kind == lexer.SPACE:
            self.at += 1

    def _next_solid(self) -> Item:
        self._skip_space()
        return self._next()

    def _peek_solid(self) -> Item:
        self._skip_space()
        return self._peek()

    def _error(self, message: str) -> TemplateError:
        return TemplateError(f"template: {self.name}:{self.line}: {message}")

    def _unexpected(self, item: Item, context: str) -> TemplateError:
        if item.kind == lexer.ERROR:
            extra = ""
            if self.action_line and self.action_line != item.line:
                extra = f" in action started at {self.name}:{self.action_line}"
                if item.value.endswith(" action"):
                    extra = extra[len(" in action") :]
            return self._error(f"{item}{extra}")
        return self._error(f"unexpected {item} in {context}")

    def _expect(self, kinds: tuple[str, ...], context: str) -> Item:
        item = self._next_solid()
        if item.kind not in kinds:
            raise self._unexpected(item, context)
        return item

    # templates and lists

    def parse(self) -> dict[str, nodes.Items]:
        root = nodes.Items(0)
        while self._peek().kind != lexer.EOF:
            if self._peek().kind == lexer.LEFT_DELIM:
                mark = self.at
                self._next()
                if self._next_solid().kind == "define":
                    self._definition()
                    continue
                self.at = mark
            node = self._text_or_action()
            if isinstance(node, nodes.Mark) and node.word in ("end", "else"):
                raise self._error(f"unexpected {node}")
            root.nodes.append(node)
        self._add(self.name, root)
        return self.templates

    def _add(self, name: str, body: nodes.Items) -> None:
        known = self.templates.get(name)
        if known is None or _is_empty(known):
            self.templates[name] = body
        elif not _is_empty(body):
            raise self._error(f"template: multiple definition of template {quote(name)}")

    def _definition(self) -> None:
        outer, self.variables = self.variables, ["$"]
        name = self._name("define clause")
        self._expect((lexer.RIGHT_DELIM,), "define clause")
        body, end = self._list()
        if end.word != "end":
            raise self._error(f"unexpected {end} in define clause")
        self._add(name, body)
        self.variables = outer

    def _list(self) -> tuple[nodes.Items, nodes.Mark]:
        body = nodes.Items(self._peek_solid().pos)
        while self._peek_solid().kind != lexer.EOF:
            node = self._text_or_action()
            if isinstance(node, nodes.Mark) and node.word in ("end", "else"):
                return body, node
            body.nodes.append(node)
        raise self._error("unexpected EOF")

    def _text_or_action(self) -> nodes.Node:
        item = self._next_solid()
        if item.kind == lexer.TEXT:
            return nodes.Text(item.pos, item.value)
        if item.kind != lexer.LEFT_DELIM:
            raise self._unexpected(item, "input")
        self.action_line = item.line
        node = self._action()
        self.action_line = 0
        return node

    def _action(self) -> nodes.Node:
        item = self._next_solid()
        special = self._actions.get(item.kind)
        if special is not None:
            return special(item)
        self.at -= 1
        start = self._peek()
        return nodes.Action(start.pos, self._pipeline("command", lexer.RIGHT_DELIM))

    def _misplaced_define(self, item: Item) -> nodes.Node:
        raise self._unexpected(item, "command")

    def _loop_word(self, item: Item) -> nodes.Node:
        after = self._next_solid()
        if after.kind != lexer.RIGHT_DELIM:
            raise self._unexpected(after, "{{" + item.value + "}}")
        if self.range_depth == 0:
            raise self._error("{{" + item.value + "}} outside {{range}}")
        return nodes.Mark(item.pos, item.value)

    def _end(self, item: Item) -> nodes.Node:
        return nodes.Mark(self._expect((lexer.RIGHT_DELIM,), "end").pos, "end")

    def _else(self, item: Item) -> nodes.Node:
        following = self._peek_solid()
        if following.kind in ("if", "with"):
            return nodes.Mark(following.pos, "else")
        return nodes.Mark(self._expect((lexer.RIGHT_DELIM,), "else").pos, "else")

    def _control(self, item: Item) -> nodes.Node:
        kind = item.kind
        outer = len(self.variables)
        pipe = self._pipeline(kind, lexer.RIGHT_DELIM)
        if kind == "range":
            self.range_depth += 1
        body, end = self._list()
        if kind == "range":
            self.range_depth -= 1
        otherwise: nodes.Items | None = None
        if end.word == "else":
            chained = self._peek()
            if chained.kind == kind and kind in ("if", "with"):
                self._next()
                otherwise = nodes.Items(end.pos)
                otherwise.nodes.append(self._control(chained))
            else:
                otherwise, end = self._list()
                if end.word != "end":
                    raise self._error("expected end; found " + str(end))
        del self.variables[outer:]
        return nodes.Branch(pipe.pos, kind, pipe, body, otherwise)

    def _name(self, context: str) -> str:
        item = self._expect((lexer.STRING, lexer.RAW_STRING), context)
        try:
            return unquote(item.value)
        except ValueError as error:
            raise self._error(str(error)) from None

    def _template(self, item: Item) -> nodes.Node:
        start = self._peek_solid()
        name = self._name("template clause")
        pipe = None
        if self._next_solid().kind != lexer.RIGHT_DELIM:
            self.at -= 1
            pipe = self._pipeline("template clause", lexer.RIGHT_DELIM)
        return nodes.Template(start.pos, name, pipe)

    def _block(self, item: Item) -> nodes.Node:
        start = self._peek_solid()
        name = self._name("block clause")
        pipe = self._pipeline("block clause", lexer.RIGHT_DELIM)
        outer, self.variables = self.variables, ["$"]
        body, end = self._list()
        if end.word != "end":
            raise self._error(f"unexpected {end} in block clause")
        self._add(name, body)
        self.variables = outer
        return nodes.Template(start.pos, name, pipe)

    # pipelines

    def _pipeline(self, context: str, end: str) -> nodes.Pipe:
        pipe = nodes.Pipe(self._peek_solid().pos)
        self._declarations(pipe, context)
        while True:
            item = self._next_solid()
            if item.kind == end:
                self._check(pipe, context)
                return pipe
            if item.kind not in _TERMS:
                raise self._unexpected(item, context)
            self.at -= 1
            pipe.commands.append(self._command())

    def _declarations(self, pipe: nodes.Pipe, context: str) -> None:
        while self._peek_solid().kind == lexer.VARIABLE:
            mark = self.at
            variable = self._next()
            following = self._peek_solid()
            if following.kind in (lexer.ASSIGN, lexer.DECLARE):
                pipe.assigns = following.kind == lexer.ASSIGN
                self._next()
                pipe.variables.append(variable.value)
                self.variables.append(variable.value)
                return
            if following.kind == lexer.CHAR and following.value == ",":
                self._next()
                pipe.variables.append(variable.value)
                self.variables.append(variable.value)
                if context == "range" and len(pipe.variables) < 2:
                    if self._peek_solid().kind in (lexer.VARIABLE, lexer.RIGHT_DELIM, lexer.RIGHT_PAREN):
                        continue
                    raise self._error("range can only initialize variables")
                raise self._error(f"too many declarations in {context}")
            self.at = mark
            return

    def _check(self, pipe: nodes.Pipe, context: str) -> None:
        if not pipe.commands:
            raise self._error(f"missing value for {context}")
        for stage, command in enumerate(pipe.commands[1:], 2):
            if isinstance(command.args[0], _NOT_CALLABLE):
                raise self._error(f"non executable command in pipeline stage {stage}")

    def _command(self) -> nodes.Command:
        command = nodes.Command(self._peek_solid().pos)
        while True:
            self._peek_solid()
            operand = self._operand()
            if operand is not None:
                command.args.append(operand)
            item = self._next()
            if item.kind == lexer.SPACE:
                continue
            if item.kind in (lexer.RIGHT_DELIM, lexer.RIGHT_PAREN):
                self.at -= 1
            elif item.kind != lexer.PIPE:
                raise self._unexpected(item, "operand")
            break
        if not command.args:
            raise self._error("empty command")
        return command

    def _operand(self) -> nodes.Node | None:
        node = self._term()
        if node is None or self._peek().kind != lexer.FIELD:
            return node
        pos = self._peek().pos
        names: list[str] = []
        while self._peek().kind == lexer.FIELD:
            names.append(self._next().value[1:])
        if isinstance(node, nodes.Field):
            return nodes.Field(pos, node.names + names)
        if isinstance(node, nodes.Variable):
            return nodes.Variable(pos, node.names + names)
        if isinstance(node, _NOT_CALLABLE):
            raise self._error(f"unexpected . after term {quote(str(node))}")
        return nodes.Chain(pos, node, names)

    def _term(self) -> nodes.Node | None:
        item = self._next_solid()
        kind = item.kind
        if kind == lexer.IDENTIFIER:
            if item.value not in self.functions:
                raise self._error(f"function {quote(item.value)} not defined")
            return nodes.Identifier(item.pos, item.value)
        if kind == lexer.DOT:
            return nodes.Dot(item.pos)
        if kind == "nil":
            return nodes.Nil(item.pos)
        if kind == lexer.VARIABLE:
            if item.value not in self.variables:
                raise self._error(f"undefined variable {quote(item.value)}")
            return nodes.Variable(item.pos, [item.value])
        if kind == lexer.FIELD:
            return nodes.Field(item.pos, [item.value[1:]])
        if kind == lexer.BOOL:
            return nodes.Bool(item.pos, item.value == "true")
        if kind in (lexer.CHAR_CONSTANT, lexer.NUMBER):
            return nodes.Number(item.pos, item.value, self._number(item))
        if kind == lexer.LEFT_PAREN:
            return self._pipeline("parenthesized pipeline", lexer.RIGHT_PAREN)
        if kind in (lexer.STRING, lexer.RAW_STRING):
            try:
                return nodes.String(item.pos, item.value, unquote(item.value))
            except ValueError as error:
                raise self._error(str(error)) from None
        self.at -= 1
        return None

    def _number(self, item: Item) -> int | float | complex:
        text = item.value
        if item.kind == lexer.CHAR_CONSTANT:
            try:
                return ord(unquote(text))
            except ValueError:
                raise self._error(f"malformed character constant: {text}") from None
        try:
            if text.endswith("i"):
                return complex(text[:-1] + "j")
            return _integer(text)
        except ValueError:
            pass
        try:
            return float.fromhex(text) if "x" in text.lower() else float(text)
        except (ValueError, OverflowError):
            raise self._error(f"illegal number syntax: {quote(text)}") from None


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        return int(text, 8)
    return int(text, 0)


def _is_empty(body: nodes.Items) -> bool:
    return all(isinstance(node, nodes.Text) and not node.text.strip() for node in body.nodes)
