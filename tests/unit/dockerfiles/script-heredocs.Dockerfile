# syntax=docker/dockerfile:1
FROM python:3.12-alpine
RUN <<EOF
#!/usr/bin/env python3
print("#! decides who reads this")
EOF
RUN cat <<A 3<<B > /both && cat <&3 >> /both
first
A
second
B
RUN <<'EOF' sh -x
echo $HOME "not
a comment: # here"
EOF
RUN <<-EOF
	echo tabs
		echo more
	EOF
COPY --chmod=755 <<run.sh <<-stop.sh /usr/local/bin/
#!/bin/sh
exec sleep infinity
run.sh
	#!/bin/sh
	kill 1
	stop.sh
