"""What every command is handed: the global options, the connection to the daemon, the person's configuration."""

from __future__ import annotations

import os
import sys

from .errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config
    from .flags import Flags
    from .http import Client

DEFAULT_HOST = "unix:///run/sampan/sampan.sock"


class Cli:
    """One run of the program. `client` and `config` are made when first asked for."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self.path = "sampan"
        """The command as it was called, for hints: "sampan container run"."""
        self._client: Client | None = None
        self._config: Config | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = self._connect()
        return self._client

    @property
    def config(self) -> Config:
        if self._config is None:
            from .config import Config

            self._config = Config.load(self.config_dir)
        return self._config

    @property
    def config_dir(self) -> str:
        given = self.flags.text("config") or os.environ.get("DOCKER_CONFIG", "")
        return given or os.path.join(os.path.expanduser("~"), ".docker")

    @property
    def host(self) -> str:
        """The daemon's address: the last of `-H`, SAMPAN_HOST, DOCKER_HOST, else the default socket."""
        given = self.flags.many("host")
        if len(given) > 1:
            raise CliError("Failed to initialize: unable to resolve docker endpoint: Specify only one -H")
        if given:
            return str(given[0]) or DEFAULT_HOST
        return os.environ.get("SAMPAN_HOST") or os.environ.get("DOCKER_HOST") or DEFAULT_HOST

    @property
    def host_given(self) -> bool:
        return bool(self.flags.many("host") or os.environ.get("SAMPAN_HOST") or os.environ.get("DOCKER_HOST"))

    def _connect(self) -> Client:
        from .endpoint import endpoint
        from .http import Client

        context = self.flags.text("context") or ("" if self.host_given else os.environ.get("DOCKER_CONTEXT", ""))
        if context not in ("", "default"):
            raise CliError(
                f'Failed to initialize: unable to resolve docker endpoint: context "{context}": '
                "contexts are not supported; use -H/--host or SAMPAN_HOST"
            )
        start = None
        if not self.host_given and os.geteuid() == 0 and os.environ.get("SAMPAN_AUTOSTART") != "0":
            from .autostart import start_daemon

            start = start_daemon
        headers = self.config.http_headers if self.has_config else {}
        client = Client(endpoint(self.host, self.flags, self.config_dir), headers=headers, autostart=start)
        if self.flags.yes("debug") or self.flags.text("log-level") in ("debug", "trace"):
            client.debug = self._debug
        return client

    def _debug(self, text: str) -> None:
        from time import strftime

        self.err(f'time="{strftime("%Y-%m-%dT%H:%M:%S%z")}" level=debug msg="{text}"\n')

    @property
    def has_config(self) -> bool:
        return os.path.exists(os.path.join(self.config_dir, "config.json"))

    def out(self, text: str) -> None:
        """Write to stdout as it is; bytes that were not UTF-8 survive as surrogates."""
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()

    def err(self, text: str) -> None:
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
