"""Docker's JSON, made from domain objects: pure functions, one module a noun."""
