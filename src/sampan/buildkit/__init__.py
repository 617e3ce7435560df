"""BuildKit's gRPC, the door that buildx, Compose and Bake knock at (`docker build` where the buildx plugin is
installed).

A front door like `api`, on the same engine: what a client asks for becomes the `BuildOptions` of `builds`, and what a
build tells becomes BuildKit's status messages. `service` has the two entrances, `control` and `gateway` the services
that clients call, `solving` one build from request to result; `sessions`, `receiving` and `sending` call the services
that a client offers through its session (its files, secrets, ssh agents and registry credentials).

There is no LLB here: clients name the Dockerfile frontend, and the Dockerfile is built by `builds`. Whoever sends LLB
of its own is told that it is not supported.

Source: BuildKit api/services/control, frontend/gateway/pb, session/*; moby api/server/router/{grpc,session}.
"""
