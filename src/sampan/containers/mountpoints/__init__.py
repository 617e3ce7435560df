"""Mounts: what the user may write, what it resolves to, and how it is made real."""
