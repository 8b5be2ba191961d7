# syntax=docker/dockerfile:1
# The image of the server, and of the command line. `make image` builds it.

# Python 3.13, which gets fixes until October 2029, on Debian 13. The official images are built with
# --enable-optimizations and --with-lto. The digest is that of the list of all platforms; `docker buildx imagetools inspect
# docker.io/library/python:3.13-slim-trixie` prints the newest.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie@sha256:bb2988715db2cf7ace7b53f38f3cffbef7c7046a656bee66245eb0ed386e2e81

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
# A volume that is mounted for the first time gets the owner of the directory, so that the server may write to it.
FROM ${PYTHON_IMAGE}
RUN rm -rf /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip /usr/local/bin/pip* \
    && mkdir --mode 0700 /var/lib/duebus && chown 10001:10001 /var/lib/duebus
COPY --from=build /opt/duebus /opt/duebus

ENV PATH=/opt/duebus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Within a container the loopback reaches nobody. Who can connect is up to whoever publishes the port. The health check is
# in the container, so for it the loopback will do.
ENV DUEBUS_LISTEN=0.0.0.0:50051 DUEBUS_HTTP_LISTEN=127.0.0.1:9090
EXPOSE 50051

# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /

# The server is process 1: it takes SIGTERM itself, drains and ends, and it starts no processes that it would have to reap.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s CMD ["python", "-m", "duebus_server.ops.healthcheck"]
ENTRYPOINT ["duebus"]
CMD ["serve"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="DueBus" \
      org.opencontainers.image.description="An event bus as a gRPC service: dispatch events, now or for later, to workers in any language." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/duebus/duebus" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
