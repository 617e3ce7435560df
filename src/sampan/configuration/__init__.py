"""Where `Settings` come from: flags and daemon.json. Key names are Docker's.

`OPTIONS` is the one table of what can be set: a flag, a key of daemon.json, or both. `from_command_line` and
`combine` make a `Settings` of it; what cannot be meant is refused with `ConfigurationError`, in dockerd's words.

Every key of dockerd's is known. Those that describe what Sampan does anyway are taken with that value only, and refused
with a sentence otherwise (`accepted`): who brings a daemon.json along learns which line to delete.
"""

from sampan.configuration.checks import check
from sampan.configuration.combining import combine, effective, reloaded
from sampan.configuration.commandline import from_command_line, usage
from sampan.configuration.file import file_error, from_file
from sampan.configuration.options import DEFAULT_FILE, LEVELS, OPTIONS, ConfigurationError, Given, Option
from sampan.configuration.values import without_credentials

__all__ = [
    "DEFAULT_FILE",
    "LEVELS",
    "OPTIONS",
    "ConfigurationError",
    "Given",
    "Option",
    "check",
    "combine",
    "effective",
    "file_error",
    "from_command_line",
    "from_file",
    "reloaded",
    "usage",
    "without_credentials",
]
