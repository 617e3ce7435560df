# syntax=docker/dockerfile:1
FROM nginx:alpine
ARG UPSTREAM=app:8000
COPY <<EOF /etc/nginx/conf.d/default.conf
upstream backend { server ${UPSTREAM}; }
server {
    listen 80 default_server;
    location / {
        proxy_set_header Host \$host;
        proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
        proxy_pass http://backend;
    }
}
EOF
COPY <<'robots.txt' <<'humans.txt' /usr/share/nginx/html/
User-agent: *
Disallow: /$private
robots.txt
made by $people
humans.txt
