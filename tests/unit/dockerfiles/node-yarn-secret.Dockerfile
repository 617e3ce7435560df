# syntax=docker/dockerfile:1.7-labs
FROM node:20
WORKDIR /app
COPY --parents packages/*/package.json package.json yarn.lock ./
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc,required=true,mode=0400 \
    --mount=type=cache,id=yarn-$TARGETARCH,target=/usr/local/share/.cache,sharing=locked \
    yarn install --frozen-lockfile
COPY --exclude=**/*.test.ts --exclude=docs . .
RUN --network=none yarn build
