"""What becomes of a build's result: `requests` (what was asked for), `packaging` (an image in this engine, or as an
archive), `files` (the root file system), `provenance` (how it was made), `exports` (what a client fetches)."""
