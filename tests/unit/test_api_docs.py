"""docs/api.md, and the route table it is made from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from sampan.api.routes import ROUTES
from sampan.api.routing import Router

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("api_docs", REPOSITORY / "scripts/api_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_is_up_to_date(script: Any) -> None:
    assert (REPOSITORY / "docs/api.md").read_text() == script.document(), "run scripts/api_docs.py"


def test_every_route_is_found_by_its_own_path() -> None:
    """Two routes that shadow each other would leave one of them dead."""
    router = Router(ROUTES)
    for route in ROUTES:
        path = route.path.replace("{name}", "some").replace("{id}", "some")
        found = router.find(route.method, path)
        assert found is not None and found[0] is route, route


def test_no_route_is_there_twice() -> None:
    pairs = [(route.method, route.path) for route in ROUTES]
    assert len(pairs) == len(set(pairs))
