FROM debian:bookworm-slim AS builder
ARG VERSION=8.0.2
RUN set -eux; \
	\
	savedAptMark="$(apt-mark showmanual)"; \
	apt-get update; \
	apt-get install -y --no-install-recommends \
		ca-certificates \
		wget \
		\
		gcc \
		libc6-dev \
		make \
	; \
	rm -rf /var/lib/apt/lists/*; \
	\
	wget -O src.tar.gz "https://example.org/releases/src-$VERSION.tar.gz"; \
	echo "4d6f3ad1ae26c3dbc3dd3d9d3d0cf7b6ff2a4d09 *src.tar.gz" | sha1sum -c -; \
	mkdir -p /usr/src/app; \
	tar -xzf src.tar.gz -C /usr/src/app --strip-components=1; \
	rm src.tar.gz; \
	\
# a comment between continued lines
	make -C /usr/src/app -j "$(nproc)" all; \
	make -C /usr/src/app install; \
	\
	apt-mark auto '.*' > /dev/null; \
	[ -z "$savedAptMark" ] || apt-mark manual $savedAptMark > /dev/null; \
	find /usr/local -type f -executable -exec ldd '{}' ';' \
		| awk '/=>/ { so = $(NF-1); if (index(so, "/usr/local/") == 1) { next }; gsub("^/(usr/)?", "", so); print so }' \
		| sort -u \
	; \
	apt-get purge -y --auto-remove
VOLUME /data
WORKDIR /data
COPY docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 6379
CMD ["server"]
