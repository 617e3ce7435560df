FROM postgres:16-bookworm
LABEL maintainer="someone@example.org" \
      org.opencontainers.image.title="Postgres with PostGIS" \
      org.opencontainers.image.description="Postgres \
with spatial types"
ENV POSTGIS_MAJOR 3
ENV POSTGIS_VERSION 3.4.3+dfsg-2.pgdg120+1
RUN apt-get update \
      && apt-cache showpkg postgresql-$PG_MAJOR-postgis-$POSTGIS_MAJOR \
      && apt-get install -y --no-install-recommends \
           # a comment inside a continued line
           ca-certificates \
           \
           postgresql-$PG_MAJOR-postgis-$POSTGIS_MAJOR=$POSTGIS_VERSION \
      && rm -rf /var/lib/apt/lists/*
RUN mkdir -p /docker-entrypoint-initdb.d
COPY ./initdb-postgis.sh /docker-entrypoint-initdb.d/10_postgis.sh
COPY *.sql /docker-entrypoint-initdb.d/
HEALTHCHECK --interval=10s --start-interval=500ms --start-period=1m30s CMD pg_isready -U "${POSTGRES_USER:-postgres}"
