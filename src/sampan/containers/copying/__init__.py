"""A container's files from outside: cp, export, volume archives."""
