"""`images --tree`, drawn from what the API answers."""

from __future__ import annotations

from typing import Any

from sampan.cli.image.tree import tree


def manifest(platform: str, total: int, containers: list[str], *, available: bool = True) -> dict[str, Any]:
    system, architecture = platform.split("/")
    return {
        "ID": "sha256:" + architecture.encode().hex().ljust(64, "0"),
        "Kind": "image",
        "Available": available,
        "Size": {"Content": total // 3, "Total": total},
        "ImageData": {"Platform": {"os": system, "architecture": architecture}, "Containers": containers},
    }


def image(names: list[str], manifests: list[dict[str, Any]], created: int) -> dict[str, Any]:
    return {
        "Id": "sha256:" + "ab" * 32, "RepoTags": names, "RepoDigests": [], "Created": created, "Containers": -1,
        "Size": sum(one["Size"]["Total"] for one in manifests), "Manifests": manifests,
    }  # fmt: skip


IMAGES = [
    image(["a:1", "much/longer:2"], [manifest("linux/amd64", 3000, ["c"]), manifest("linux/arm64", 0, [])], 1),
    image(["b:1"], [{**manifest("linux/x", 90, []), "Kind": "attestation"}], 2),
    image([], [], 3),
]


def test_newest_first_with_each_platform_below_and_attestations_only_counted() -> None:
    lines = tree(IMAGES, False, 80, False).splitlines()
    assert [line.rstrip() for line in lines[3:]] == [
        "IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA",
        "b:1              abababababab          90B            30B",
        "",
        "much/longer:2",
        "a:1              abababababab          3kB            1kB   U",
        "├─ linux/amd64   616d64363400          3kB            1kB   U",
        "└─ linux/arm64   61726d363400           0B             0B",
        "",
    ]
    assert "<untagged>" in tree(IMAGES, True, 80, False)


def test_a_narrow_screen_keeps_the_names() -> None:
    assert [line.split() for line in tree(IMAGES, False, 30, False).splitlines()[3:6:2]] == [["IMAGE", "ID"], []]
    assert all(len(line) <= 30 for line in tree(IMAGES, False, 30, False).splitlines()[3:])


def test_without_images_there_is_a_header() -> None:
    assert tree([], False, 80, False).splitlines()[3].split()[0] == "IMAGE"
