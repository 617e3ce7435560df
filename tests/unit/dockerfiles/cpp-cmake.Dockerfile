FROM ubuntu:24.04 AS build
ENV DEBIAN_FRONTEND noninteractive
RUN apt-get update && apt-get -y install build-essential cmake ninja-build git
COPY . /src
RUN cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release && cmake --build /build && ctest --test-dir /build
FROM ubuntu:24.04
COPY --from=0 /build/app /usr/bin/app
COPY --from=0 --chmod=0644 /src/etc/ /etc/app/
ENTRYPOINT exec /usr/bin/app --config /etc/app/app.conf
