# syntax=docker/dockerfile:1
ARG GO_VERSION=1.23
ARG ALPINE_VERSION=3.20
FROM --platform=$BUILDPLATFORM tonistiigi/xx:1.5.0 AS xx
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine${ALPINE_VERSION} AS base
COPY --link --from=xx / /
ENV CGO_ENABLED=0
WORKDIR /src

FROM base AS build
ARG TARGETPLATFORM
ARG VERSION="0.0.0+unknown" REVISION
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/root/.cache,id=cache-$TARGETPLATFORM \
    --mount=type=cache,target=/go/pkg/mod <<EOT
  set -ex
  xx-go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.revision=${REVISION}" -o /out/app .
  xx-verify --static /out/app
EOT

FROM base AS test
RUN --mount=type=bind,target=.,rw --mount=type=tmpfs,target=/tmp,size=256m go test ./...

FROM scratch AS binary
COPY --from=build /out/app /

FROM alpine:${ALPINE_VERSION}
COPY --from=build /out/app /usr/local/bin/
ENTRYPOINT [ "app" ]
