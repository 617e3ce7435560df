"""A registry server: OCI distribution-spec 1.1, on the engine's content store, a directory, or an S3 bucket.

`Registry` (in `server`) is the front door. Behind it: `exchange`, `pulling`, `pushing`, `discovery`, `deleting` (HTTP,
one of the spec's categories each), `repositories` (links, manifests, tags, referrers), `documents`, `names`, `digests`,
`failures` (pure), `storage` (the interface) with `directory`, `objects` and `engine` (its drivers), `mirror`,
`collection`, `credentials`, `metrics`, and `options` with `serving` and `__main__` (the program).
"""
