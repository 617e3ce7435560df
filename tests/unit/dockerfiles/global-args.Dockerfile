ARG REGISTRY
ARG IMAGE=${REGISTRY:+$REGISTRY/}debian
ARG TAG=12
FROM ${IMAGE}:${TAG:-latest} AS one
ARG TAG
ARG BUILD_DATE VCS_REF="unknown"
LABEL org.opencontainers.image.created=$BUILD_DATE org.opencontainers.image.revision=$VCS_REF tag=$TAG
FROM one AS two
RUN echo $TAG
FROM two
COPY --from=one /etc/debian_version /one
COPY --from=0 /etc/debian_version /zero
COPY --from=busybox:latest /bin/busybox /bin/
