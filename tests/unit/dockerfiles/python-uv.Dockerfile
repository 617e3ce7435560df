# syntax=docker/dockerfile:1.9
FROM ghcr.io/astral-sh/uv:0.5-python3.13-alpine AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --frozen --no-install-project --no-dev
ADD . /app
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev

FROM python:3.13-alpine
COPY --from=builder --chown=1000:1000 --link /app /app
ENV PATH="/app/.venv/bin:$PATH"
USER 1000:1000
CMD ["fastapi", "run", "/app/src/main.py"]
