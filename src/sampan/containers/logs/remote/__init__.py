"""Log drivers that send elsewhere: syslog, gelf, fluentd, journald.

Words: a *message* is one line of output (or a piece of a long one) with its time; a *destination* takes messages and
returns when the other side has them; a *link* is the socket under it.
"""

REMOTE = frozenset({"syslog", "gelf", "fluentd", "journald"})
