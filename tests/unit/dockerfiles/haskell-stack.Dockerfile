FROM fpco/stack-build:lts-22 as dependencies
RUN mkdir /opt/build
WORKDIR /opt/build
COPY stack.yaml package.yaml stack.yaml.lock /opt/build/
RUN stack build --system-ghc --dependencies-only
FROM dependencies as build
COPY . /opt/build/
RUN stack build --system-ghc
RUN mv "$(stack path --local-install-root --system-ghc)/bin" /opt/build/bin
FROM debian:buster-slim as app
COPY --from=build /opt/build/bin .
CMD ["/opt/app/myapp"]
