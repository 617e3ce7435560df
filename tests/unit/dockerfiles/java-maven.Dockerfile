FROM maven:3.9-eclipse-temurin-21 AS build
WORKDIR /build
COPY pom.xml .
RUN --mount=type=cache,target=/root/.m2 mvn -B -e -C dependency:go-offline
COPY src ./src
RUN --mount=type=cache,target=/root/.m2 mvn -B -o package -DskipTests

FROM eclipse-temurin:21-jre
ARG JAR_FILE=/build/target/*.jar
ENV JAVA_OPTS="-XX:+UseContainerSupport -XX:MaxRAMPercentage=75.0"
COPY --from=build ${JAR_FILE} /app/app.jar
EXPOSE 8080/tcp
ENTRYPOINT ["sh", "-c", "exec java $JAVA_OPTS -jar /app/app.jar \"$@\"", "--"]
