"""Go's text/template as Docker's `--format` uses it.

    Template('{{.Names}}: {{json .Labels}}').render(row)

Values are Python's own (str, int, bool, list, dict, None) and those of `govalues`, which stand for what JSON does not
say: structs, typed nils, durations. Errors are TemplateError, worded as Go words them; nothing else is raised for a bad
template.
"""

from __future__ import annotations

from sampan.cli.template.execute import Template
from sampan.cli.template.parser import TemplateError

__all__ = ["Template", "TemplateError"]
