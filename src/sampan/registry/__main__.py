"""`sampan registry serve`, as `python -m sampan.registry`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from sampan.errors import SampanError
from sampan.registry.options import Options, parse

log = logging.getLogger("sampan.registry")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def main() -> int:
    options = parse(sys.argv[1:])
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("sampan").setLevel(_LEVELS[options.log_level])
    try:
        return asyncio.run(_run(options))
    except SampanError as error:
        print(f"failed to start registry: {error.message}", file=sys.stderr)
        return 1


async def _run(options: Options) -> int:
    from sampan.registry.serving import Serving

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Serving(options) as serving:
        shown = options.address.rpartition(":")[0]
        log.info("registry listens on %s:%d, storage %s", shown, serving.port, options.storage)
        await stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
