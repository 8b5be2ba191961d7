# syntax=docker/dockerfile:1
# The image of the server, and of the command line. `make image` builds it, pinned to the digest that the tag has today.

# The Python that the tests run on. The official images are built with --enable-optimizations and --with-lto. With a
# digest, a build does not depend on what the tag means that day:
# --build-arg PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# --- build: pip, hashed dependencies, the wheel --------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /src

COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build \
    && python -m venv --without-pip /opt/duebus \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: --requirement requirements-build.lock \
    && /opt/build/bin/pip --python /opt/duebus/bin/python install --require-hashes --only-binary :all: --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY clients/python clients/python
# The root is read-only when it runs: what Python would write is written now, and it need not look at the sources for it.
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/duebus/bin/python install --no-index --no-deps dist/*.whl \
    && /opt/duebus/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/duebus/lib

# --- the image: Python without pip, and what was installed ----------------------------------------------------------
FROM ${PYTHON_IMAGE}
RUN rm -rf /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip /usr/local/bin/pip*
COPY --from=build /opt/duebus /opt/duebus

ENV PATH=/opt/duebus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Within a container the loopback reaches nobody. Who can connect is up to whoever publishes the port.
ENV DUEBUS_LISTEN=0.0.0.0:50051
EXPOSE 50051

# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /

# The server is process 1: it takes SIGTERM itself, drains and ends, and it starts no processes that it would have to reap.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s CMD ["duebus", "health", "--timeout", "4s"]
ENTRYPOINT ["duebus"]
CMD ["serve"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="DueBus" \
      org.opencontainers.image.description="An event bus as a gRPC service: dispatch events, now or for later, to workers in any language." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
