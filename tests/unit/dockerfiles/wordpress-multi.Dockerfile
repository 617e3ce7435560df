FROM composer:2 AS vendor
COPY composer.* ./
RUN composer install --no-dev --prefer-dist --no-scripts
FROM node:20 AS assets
WORKDIR /theme
COPY theme/ .
RUN npm ci && npm run build
FROM wordpress:6.6-php8.3-fpm-alpine
COPY --from=vendor --chown=82:82 /app/vendor /var/www/html/vendor
COPY --from=assets --chown=82:82 /theme/dist /var/www/html/wp-content/themes/site
RUN echo 'upload_max_filesize = 64M' >> /usr/local/etc/php/conf.d/uploads.ini; \
    echo "post_max_size = 64M" >> /usr/local/etc/php/conf.d/uploads.ini
EXPOSE 9000-9002
