# syntax=docker/dockerfile:1
FROM python:3.11
RUN <<EOF
set -e
apt-get update
apt-get install -y --no-install-recommends libpq-dev gettext
rm -rf /var/lib/apt/lists/*
EOF
COPY <<-"SCRIPT" /usr/local/bin/entrypoint
	#!/bin/sh
	set -eu
	python manage.py migrate --noinput
	exec "$@"
SCRIPT
RUN chmod +x /usr/local/bin/entrypoint
WORKDIR /srv
COPY . .
RUN <<PYTHON python3
import compileall
compileall.compile_dir("/srv", quiet=1)
PYTHON
ENTRYPOINT ["entrypoint"]
CMD ["gunicorn", "site.wsgi", "-w", "4"]
STOPSIGNAL SIGINT
