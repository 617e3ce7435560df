"""The labels and variables that a log driver's options name. Pure."""

from __future__ import annotations

import re


def attributes(options: dict[str, str], labels: dict[str, str], env: list[str]) -> dict[str, str]:
    """By `labels`, `labels-regex`, `env` and `env-regex`."""
    variables = dict(entry.partition("=")[::2] for entry in env)
    return _chosen(options, "labels", labels) | _chosen(options, "env", variables)


def _chosen(options: dict[str, str], option: str, found: dict[str, str]) -> dict[str, str]:
    names = options.get(option, "").split(",")
    pattern = options.get(f"{option}-regex")
    return {name: value for name, value in found.items() if name in names or (pattern and re.search(pattern, name))}
