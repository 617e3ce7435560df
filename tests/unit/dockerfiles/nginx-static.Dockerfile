FROM nginx:1.27-alpine
COPY nginx.conf /etc/nginx/nginx.conf
COPY ./site/ /usr/share/nginx/html
RUN rm -f /etc/nginx/conf.d/default.conf && ln -sf /dev/stdout /var/log/nginx/access.log
EXPOSE 80 443
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
