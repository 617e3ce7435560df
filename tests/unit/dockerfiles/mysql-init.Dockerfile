FROM mysql:8.4
MAINTAINER Database Team <db@example.org>
ENV MYSQL_DATABASE=shop MYSQL_USER=shop
ADD schema.sql.gz /docker-entrypoint-initdb.d/
ADD https://example.org/seed.sql /docker-entrypoint-initdb.d/20-seed.sql
EXPOSE 3306 33060
VOLUME ["/var/lib/mysql", "/backup"]
