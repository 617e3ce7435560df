"""From a container document to an OCI runtime spec, and the files made beside it."""
