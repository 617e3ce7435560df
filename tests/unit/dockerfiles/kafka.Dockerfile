FROM eclipse-temurin:17-jre
ARG kafka_version=3.8.0
ARG scala_version=2.13
ENV KAFKA_VERSION=$kafka_version \
    SCALA_VERSION=$scala_version \
    KAFKA_HOME=/opt/kafka
ENV PATH=${PATH}:${KAFKA_HOME}/bin
RUN wget -qO- "https://archive.apache.org/dist/kafka/${KAFKA_VERSION}/kafka_${SCALA_VERSION}-${KAFKA_VERSION}.tgz" | tar xz -C /opt \
 && ln -s /opt/kafka_${SCALA_VERSION}-${KAFKA_VERSION} ${KAFKA_HOME}
VOLUME ["/kafka"]
EXPOSE 9092
CMD ["kafka-server-start.sh", "/opt/kafka/config/kraft/server.properties"]
