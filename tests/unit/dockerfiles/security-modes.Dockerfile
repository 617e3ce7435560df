# syntax=docker/dockerfile:1-labs
FROM ubuntu:22.04
RUN --security=insecure cat /proc/self/status | grep CapEff
RUN --security=sandbox --network=host ss -tln
RUN --network=none --mount=type=secret,id=aws,env=AWS_SECRET_ACCESS_KEY ./offline.sh
RUN --mount=from=golang:1.22,src=/usr/local/go,dst=/usr/local/go,readonly=true /usr/local/go/bin/go version
RUN --mount=type=bind,\"source=with,comma\",target=/x,rw true
RUN --mount=type=tmpfs,target=/scratch,size=1.5g --mount=type=cache,dst=/c,uid=1000,gid=1000,mode=0770,sharing=private df
