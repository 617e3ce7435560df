"""Tar, both ways: `headers` (what an entry is), `reader` and `writer`, `sparse` (files with holes), `packing` (a tree
of files as an archive). None of it knows images."""
