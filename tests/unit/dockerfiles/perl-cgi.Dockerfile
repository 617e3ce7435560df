FROM perl:5.38-slim
COPY cpanfile .
RUN cpanm --notest --installdeps . \
 && rm -fr ./cpanfile /var/cache/apt/* $HOME/.cpanm
COPY . /usr/src/myapp
WORKDIR /usr/src/myapp
ENTRYPOINT [ "perl" ]
CMD [ "-Ilib", "./app.pl", "daemon" ]
