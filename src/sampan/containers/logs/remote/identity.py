"""Whose lines they are: what drivers say of a container, and the `tag` option's template. Pure.

The template's language is Go's; here are the fields and functions that tags use, and anything else is refused.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from typing import Any

from sampan.containers.logs.log_attributes import attributes
from sampan.containers.model import Container
from sampan.errors import NotSupported, SampanError

DEFAULT_TAG = "{{.ID}}"


class Identity:
    """A container as the log drivers see it: dockerd's `logger.Info`."""

    def __init__(self, container: Container) -> None:
        config = container.config
        self.options = dict((container.host_config.log_config and container.host_config.log_config.config) or {})
        self.id = container.id
        self.name = container.name
        self.created = container.created
        self.image_id = container.image_id
        self.image_name = container.image_name
        self.path = container.path
        self.args = list(container.args)
        self.labels = dict(config.labels or {})
        self.env = list(config.env or [])
        self.host = socket.gethostname()

    @property
    def command(self) -> str:
        return " ".join([self.path, *self.args])

    def extra(self, name: Callable[[str], str] = str) -> dict[str, str]:
        """The labels and variables that the options name; `name` makes the driver's name of one."""
        return {name(key): value for key, value in attributes(self.options, self.labels, self.env).items()}

    def tag(self, default: str = DEFAULT_TAG) -> str:
        """Raises `SampanError` for what the template cannot mean."""
        template = self.options.get("tag") or default
        return _ACTION.sub(lambda found: _text(self._value(template, found)), template)

    def _fields(self) -> dict[str, Any]:
        return {
            "ID": self.id[:12],
            "FullID": self.id,
            "Name": self.name,
            "ImageID": self.image_id[:12],
            "ImageFullID": self.image_id,
            "ImageName": self.image_name,
            "DaemonName": "docker",
            "Command": self.command,
            "Hostname": self.host,
            "Config": self.options,
            "ContainerID": self.id,
            "ContainerName": f"/{self.name}",
            "ContainerEntrypoint": self.path,
            "ContainerArgs": self.args,
            "ContainerImageID": self.image_id,
            "ContainerImageName": self.image_name,
            "ContainerEnv": self.env,
            "ContainerLabels": self.labels,
        }

    def _value(self, template: str, action: re.Match[str]) -> Any:
        """Of one `{{…}}`: words, piped from function to function."""
        value: Any = None
        for number, stage in enumerate(action[1].split("|")):
            words = _WORD.findall(stage)
            if not words or "".join(words) != re.sub(r'("[^"]*")|\s', r"\1", stage):
                raise NotSupported(f"the log tag {template} is not supported: {action[0]}")
            given = [self._operand(template, action, word) for word in words[words[0] in _FUNCTIONS :]]
            if number:
                given.append(value)
            if words[0] in _FUNCTIONS:
                try:
                    value = _FUNCTIONS[words[0]](*given)
                except (TypeError, ValueError, LookupError) as error:
                    raise SampanError(f'template: log-tag: executing "log-tag" at <{stage.strip()}>: {error}') from None
            elif len(given) == 1:
                value = given[0]
            else:
                raise NotSupported(f"the log tag {template} is not supported: {action[0]}")
        return value

    def _operand(self, template: str, action: re.Match[str], word: str) -> Any:
        if word.startswith('"'):
            return word[1:-1]
        if word.isdigit():
            return int(word)
        field = word.removeprefix(".")
        known = self._fields()
        if not word.startswith(".") or not field:
            raise NotSupported(f"the log tag {template} is not supported: {action[0]}")
        if field not in known:
            at = action.start() + action[0].index(word)
            raise SampanError(
                f'template: log-tag:1:{at}: executing "log-tag" at <{word}>: '
                f"can't evaluate field {field} in type *logger.Info"
            )
        return known[field]


_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.S)
_WORD = re.compile(r'"[^"]*"|[^\s"]+')
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(value, separators=(",", ":")),
    "lower": lambda value: str(value).lower(),
    "upper": lambda value: str(value).upper(),
    "title": lambda value: str(value).title(),
    "join": lambda values, separator: separator.join(values),
    "split": lambda value, separator: value.split(separator),
    "truncate": lambda value, length: str(value)[:length],
    "index": lambda value, key: value.get(key, "") if isinstance(value, dict) else value[key],
}


def _text(value: Any) -> str:
    """As Go prints it."""
    if isinstance(value, list):
        return f"[{' '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_text(one)}' for key, one in sorted(value.items()))}]"
    return str(value)
