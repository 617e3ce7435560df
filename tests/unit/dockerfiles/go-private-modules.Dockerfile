# syntax=docker/dockerfile:1
FROM golang:1.21-alpine
RUN apk add --no-cache git openssh-client
RUN mkdir -p -m 0700 ~/.ssh && ssh-keyscan github.com >> ~/.ssh/known_hosts
ENV GOPRIVATE=github.com/example/*
RUN git config --global url."git@github.com:".insteadOf "https://github.com/"
WORKDIR /src
COPY . .
RUN --mount=type=ssh --mount=type=ssh,id=deploy,required go build -o /bin/tool .
CMD tool serve
