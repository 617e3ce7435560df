ARG PYTHON_VERSION=3.12
FROM python:${PYTHON_VERSION}-bookworm AS build
ARG POETRY_VERSION=1.8.3
ENV POETRY_HOME=/opt/poetry \
    POETRY_VIRTUALENVS_IN_PROJECT=true
RUN curl -sSL https://install.python-poetry.org | python3 - --version "$POETRY_VERSION"
ENV PATH="$POETRY_HOME/bin:$PATH"
WORKDIR /src
COPY pyproject.toml poetry.lock ./
RUN poetry install --only main --no-root
COPY . .
RUN poetry build -f wheel

FROM python:${PYTHON_VERSION}-slim-bookworm
COPY --from=build /src/dist/*.whl /tmp/
RUN pip install /tmp/*.whl && rm -rf /tmp/*.whl
ENTRYPOINT ["service"]
CMD ["--help"]
