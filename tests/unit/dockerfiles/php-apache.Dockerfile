FROM php:8.3-apache
RUN set -ex; \
	apt-get update; \
	apt-get install -y --no-install-recommends libfreetype6-dev libjpeg-dev libpng-dev libzip-dev; \
	docker-php-ext-configure gd --with-freetype --with-jpeg; \
	docker-php-ext-install -j "$(nproc)" gd mysqli opcache zip
RUN { \
		echo 'opcache.memory_consumption=128'; \
		echo 'opcache.interned_strings_buffer=8'; \
		echo 'opcache.max_accelerated_files=4000'; \
	} > /usr/local/etc/php/conf.d/opcache-recommended.ini
RUN a2enmod rewrite expires
COPY --from=composer:2 /usr/bin/composer /usr/local/bin/composer
COPY --chown=www-data:www-data . /var/www/html/
VOLUME /var/www/html
