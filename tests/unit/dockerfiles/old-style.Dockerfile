# VERSION 0.1
FROM        ubuntu
MAINTAINER  Old Timer "old@example.org"

ENV HOME /root
ENV PATH /opt/bin:$PATH
ENV SENTENCE  it keeps   its "quotes" and spaces

RUN apt-get update && apt-get upgrade -y

RUN apt-get install -y \
    curl \

    vim

ADD start.sh /start.sh
RUN chmod 755 /start.sh
EXPOSE 22 80:8080 127.0.0.1:443:8443/tcp
ENTRYPOINT /start.sh
