"""Executes a template's tree over a value: text/template's exec.go."""

from __future__ import annotations

from sampan.cli.template import nodes
from sampan.cli.template.evaluate import Evaluator
from sampan.cli.template.functions import FUNCTIONS, Function
from sampan.cli.template.govalues import is_true, text
from sampan.cli.template.parser import TemplateError, parse
from sampan.cli.template.quoting import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Template:
    """A parsed template. Raises TemplateError for one that does not parse."""

    def __init__(self, source: str, functions: dict[str, Function] = FUNCTIONS, name: str = "") -> None:
        self.source = source
        self.functions = functions
        self.name = name
        self.templates = parse(source, functions, name)

    def render(
        self, data: object, missing_key_is_error: bool = False, functions: dict[str, Function] | None = None
    ) -> str:
        """The template's text over `data`. Raises TemplateError.

        `missing_key_is_error` refuses a key that a map has not (Go's missingkey=error); otherwise it is `<no value>`.
        """
        run = _Run(self, missing_key_is_error, functions or self.functions)
        try:
            run.walk(data, self.templates[self.name])
        except TemplateError as error:
            error.partial = "".join(run.out)
            raise
        except RecursionError:
            raise TemplateError(f"template: {self.name}: exceeded maximum template depth (100000)") from None
        return "".join(run.out)


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Run(Evaluator):
    """One execution's statements; `out` gathers its text."""

    def __init__(self, template: Template, strict: bool, functions: dict[str, Function]) -> None:
        super().__init__(template.source, template.name, template.templates[template.name], functions, strict)
        self.template = template
        self.out: list[str] = []

    def walk(self, dot: object, node: nodes.Node) -> None:
        if not self.variables:
            self.variables.append(("$", dot))
        self.node = node
        if isinstance(node, nodes.Text):
            self.out.append(node.text)
        elif isinstance(node, nodes.Action):
            value = self.pipeline(dot, node.pipe)
            if not node.pipe.variables:
                self.show(node, value)
        elif isinstance(node, nodes.Items):
            for child in node.nodes:
                self.walk(dot, child)
        elif isinstance(node, nodes.Branch):
            if node.kind == "range":
                self.range(dot, node)
            else:
                self.branch(dot, node)
        elif isinstance(node, nodes.Template):
            self.call_template(dot, node)
        elif isinstance(node, nodes.Mark):
            raise (_Break if node.word == "break" else _Continue)
        else:
            raise self.error(f"unknown node: {node}")

    def show(self, node: nodes.Node, value: object) -> None:
        self.node = node
        self.out.append("<no value>" if value is None else text(value))

    def branch(self, dot: object, node: nodes.Branch) -> None:
        mark = len(self.variables)
        value = self.pipeline(dot, node.pipe)
        boxed = self.boxed
        if is_true(value):
            if node.kind == "with":
                self.boxed = False
            self.walk(value if node.kind == "with" else dot, node.body)
        elif node.otherwise is not None:
            self.walk(dot, node.otherwise)
        self.boxed = boxed
        del self.variables[mark:]

    def range(self, dot: object, node: nodes.Branch) -> None:
        mark = len(self.variables)
        value = self.pipeline(dot, node.pipe)
        pairs: Iterable[tuple[object, object]]
        if isinstance(value, dict):
            pairs = [(key, value[key]) for key in sorted(value)]
        elif isinstance(value, list):
            pairs = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            if len(node.pipe.variables) > 1:
                raise self.error(f"can't use {value} to iterate over more than one variable")
            pairs = ((i, i) for i in range(value))
        elif value is None:
            pairs = []
        else:
            raise self.error(f"range can't iterate over {text(value)}")
        boxed, inner = self.boxed, len(self.variables)
        self.boxed = type(value) in (list, dict)
        empty = True
        for key, element in pairs:
            empty = False
            self.set_range_variables(node.pipe, mark, key, element)
            try:
                self.walk(element, node.body)
            except _Break:
                break
            except _Continue:
                continue
            finally:
                del self.variables[inner:]
        self.boxed = boxed
        if empty and node.otherwise is not None:
            self.walk(dot, node.otherwise)
        del self.variables[mark:]

    def set_range_variables(self, pipe: nodes.Pipe, mark: int, key: object, element: object) -> None:
        values = [element] if len(pipe.variables) == 1 else [key, element]
        for offset, (name, value) in enumerate(zip(pipe.variables, values, strict=False)):
            if pipe.assigns:
                self.assign(name, value)
            else:
                self.variables[mark + offset] = (name, value)

    def call_template(self, dot: object, node: nodes.Template) -> None:
        body = self.template.templates.get(node.name)
        if body is None:
            raise self.error(f"template {quote(node.name)} not defined")
        value = None if node.pipe is None else self.pipeline(dot, node.pipe)
        outer, self.variables = self.variables, [("$", value)]
        outer_name, self.name = self.name, node.name
        boxed, self.boxed = self.boxed, False
        self.walk(value, body)
        self.variables, self.name, self.boxed = outer, outer_name, boxed
