"""The route table: every method and path of the Docker Engine API that is answered here. `docs/api.md` is made from
it."""

from __future__ import annotations

from sampan.api.handlers import buildkit, builds, containers, files, images, networks, streams, system, volumes
from sampan.api.routing import Route

_NO_CHECKPOINTS = "checkpoints: an experimental feature"
_NO_PLUGINS = "managed plugins"
_NO_SWARM = "swarm mode: answered as a node that is in no swarm"

ROUTES: tuple[Route, ...] = (
    # The engine
    Route("GET", "/_ping", system.ping),
    Route("HEAD", "/_ping", system.ping),
    Route("GET", "/version", system.version),
    Route("GET", "/info", system.info),
    Route("GET", "/events", system.events, disposable=True),
    Route("GET", "/system/df", system.disk_usage, since=(1, 25)),
    Route("POST", "/auth", images.auth),
    # Containers
    Route("GET", "/containers/json", containers.list_),
    Route("POST", "/containers/create", containers.create),
    Route("POST", "/containers/prune", containers.prune, since=(1, 25)),
    Route("GET", "/containers/{name}/json", containers.inspect),
    Route("GET", "/containers/{name}/top", containers.top),
    Route("GET", "/containers/{name}/logs", streams.logs, disposable=True),
    Route("GET", "/containers/{name}/changes", files.changes),
    Route("GET", "/containers/{name}/export", files.export, disposable=True),
    Route("GET", "/containers/{name}/stats", containers.stats, disposable=True),
    Route("GET", "/containers/{name}/attach/ws", streams.attach_websocket),
    Route("GET", "/containers/{name}/archive", files.archive_get, disposable=True),
    Route("HEAD", "/containers/{name}/archive", files.archive_head),
    Route("PUT", "/containers/{name}/archive", files.archive_put),
    Route("POST", "/containers/{name}/start", containers.start),
    Route("POST", "/containers/{name}/stop", containers.stop),
    Route("POST", "/containers/{name}/restart", containers.restart),
    Route("POST", "/containers/{name}/kill", containers.kill),
    Route("POST", "/containers/{name}/pause", containers.pause),
    Route("POST", "/containers/{name}/unpause", containers.unpause),
    Route("POST", "/containers/{name}/rename", containers.rename),
    Route("POST", "/containers/{name}/update", containers.update),
    Route("POST", "/containers/{name}/wait", containers.wait, disposable=True),
    Route("POST", "/containers/{name}/resize", containers.resize),
    Route("POST", "/containers/{name}/attach", streams.attach),
    Route("POST", "/containers/{name}/exec", streams.exec_create),
    Route("GET", "/containers/{name}/checkpoints", system.checkpoints, since=(1, 25), lacks=_NO_CHECKPOINTS),
    Route("POST", "/containers/{name}/checkpoints", system.checkpoints, since=(1, 25), lacks=_NO_CHECKPOINTS),
    Route("DELETE", "/containers/{name}", containers.remove),
    # Exec
    Route("GET", "/exec/{id}/json", streams.exec_view),
    Route("POST", "/exec/{id}/start", streams.exec_start),
    Route("POST", "/exec/{id}/resize", streams.exec_resize),
    # Images
    Route("GET", "/images/json", images.list_),
    Route("GET", "/images/search", images.search),
    Route("GET", "/images/get", images.save, disposable=True),
    Route("GET", "/images/{name}/get", images.save, disposable=True),
    Route("GET", "/images/{name}/history", images.history),
    Route("GET", "/images/{name}/json", images.inspect),
    Route("POST", "/images/load", images.load),
    Route("POST", "/images/create", images.create, disposable=True),
    Route("POST", "/images/prune", images.prune, since=(1, 25)),
    Route("POST", "/images/{name}/push", images.push, disposable=True),
    Route("POST", "/images/{name}/tag", images.tag),
    Route("DELETE", "/images/{name}", images.delete),
    Route("GET", "/distribution/{name}/json", images.distribution, since=(1, 30)),
    Route("POST", "/commit", images.commit),
    Route("POST", "/build", builds.build, disposable=True),
    Route("POST", "/build/cancel", buildkit.cancel, since=(1, 39)),
    Route("POST", "/build/prune", builds.prune, since=(1, 31)),
    Route("GET", "/build/exports/{name}", builds.export, disposable=True),
    Route("POST", "/build/ssh", builds.ssh),
    # Networks
    Route("GET", "/networks", networks.list_),
    Route("GET", "/networks/", networks.list_),
    Route("GET", "/networks/{id}", networks.inspect),
    Route("POST", "/networks/create", networks.create),
    Route("POST", "/networks/prune", networks.prune, since=(1, 25)),
    Route("POST", "/networks/{id}/connect", networks.connect),
    Route("POST", "/networks/{id}/disconnect", networks.disconnect),
    Route("DELETE", "/networks/{id}", networks.delete),
    # Volumes
    Route("GET", "/volumes", volumes.list_),
    Route("GET", "/volumes/{name}", volumes.inspect),
    Route("GET", "/volumes/{name}/export", volumes.export_),
    Route("POST", "/volumes/{name}/import", volumes.import_),
    Route("POST", "/volumes/create", volumes.create),
    Route("POST", "/volumes/prune", volumes.prune, since=(1, 25)),
    Route("PUT", "/volumes/{name}", volumes.update, since=(1, 42)),
    Route("DELETE", "/volumes/{name}", volumes.delete),
    # BuildKit's own protocol
    Route("POST", "/session", buildkit.session, since=(1, 31)),
    Route("POST", "/grpc", buildkit.grpc, since=(1, 31)),
    # Plugins: none
    Route("GET", "/plugins", system.plugins, since=(1, 25)),
    Route("GET", "/plugins/{name}/json", system.plugin_missing, since=(1, 25), lacks=_NO_PLUGINS),
    Route("GET", "/plugins/privileges", system.plugin_unsupported, since=(1, 25), lacks=_NO_PLUGINS),
    Route("POST", "/plugins/pull", system.plugin_unsupported, since=(1, 25), lacks=_NO_PLUGINS),
    Route("POST", "/plugins/create", system.plugin_unsupported, since=(1, 25), lacks=_NO_PLUGINS),
    *(
        Route("POST", f"/plugins/{{name}}/{verb}", system.plugin_missing, since=(1, 25), lacks=_NO_PLUGINS)
        for verb in ("enable", "disable", "push", "set")
    ),
    Route("POST", "/plugins/{name}/upgrade", system.plugin_missing, since=(1, 26), lacks=_NO_PLUGINS),
    Route("DELETE", "/plugins/{name}", system.plugin_missing, since=(1, 25), lacks=_NO_PLUGINS),
    # Swarm: this node is in none
    Route("POST", "/swarm/init", system.swarm_start, lacks=_NO_SWARM),
    Route("POST", "/swarm/join", system.swarm_start, lacks=_NO_SWARM),
    Route("POST", "/swarm/leave", system.swarm_leave, lacks=_NO_SWARM),
    *(
        Route(method, path, system.swarm, since=since, lacks=_NO_SWARM)
        for since, methods, path in (
            ((1, 24), "GET", "/swarm"),
            ((1, 24), "POST", "/swarm/update"),
            ((1, 25), "POST", "/swarm/unlock"),
            ((1, 25), "GET", "/swarm/unlockkey"),
            ((1, 24), "GET", "/nodes"),
            ((1, 24), "GET DELETE", "/nodes/{id}"),
            ((1, 24), "POST", "/nodes/{id}/update"),
            ((1, 24), "GET", "/services"),
            ((1, 24), "POST", "/services/create"),
            ((1, 24), "GET DELETE", "/services/{id}"),
            ((1, 24), "POST", "/services/{id}/update"),
            ((1, 29), "GET", "/services/{id}/logs"),
            ((1, 24), "GET", "/tasks"),
            ((1, 24), "GET", "/tasks/{id}"),
            ((1, 29), "GET", "/tasks/{id}/logs"),
            ((1, 25), "GET", "/secrets"),
            ((1, 25), "POST", "/secrets/create"),
            ((1, 25), "GET DELETE", "/secrets/{id}"),
            ((1, 26), "POST", "/secrets/{id}/update"),
            ((1, 30), "GET", "/configs"),
            ((1, 30), "POST", "/configs/create"),
            ((1, 30), "GET DELETE", "/configs/{id}"),
            ((1, 30), "POST", "/configs/{id}/update"),
        )
        for method in methods.split()
    ),
)
