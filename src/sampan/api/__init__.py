"""The Docker Engine API, 1.24 to 1.51: routes, version negotiation, error mapping, hijacked streams. No decisions, no
state.

Words: a *call* is one request being answered (`Call`); a *handler* answers it; the *route table* (`routes.ROUTES`)
says which handler answers which method and path, and since which version; a *view* is a pure function from a domain
object to Docker's JSON; a *hijacked* connection has left HTTP and carries a container's streams."""
