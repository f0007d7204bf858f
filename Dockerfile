# One image serves and runs every command: docker run IMAGE config check, docker run -it IMAGE users add alice, ...
# It needs no capability and no writable root: docker run --read-only --cap-drop ALL --tmpfs /tmp IMAGE
FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/gateway
# The lock file has the extras too: postgres, redis, tracing.
COPY requirements.lock ./
RUN /opt/gateway/bin/pip install --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN /opt/gateway/bin/pip install --no-deps --no-build-isolation . \
    && /opt/gateway/bin/python -m compileall -q /opt/gateway/lib \
    && /opt/gateway/bin/pip uninstall -y pip hatchling editables

FROM python:3.13-slim
LABEL org.opencontainers.image.title="auth-gateway" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin gateway \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY__SERVER__LISTEN=0.0.0.0:8080
# gateway.yaml is read from here; on SQLite the database and the master key are kept here. PostgreSQL needs no volume.
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8080 9090
# The drain of ten seconds fits into the ten that docker stop waits only just: give it --time 30.
STOPSIGNAL SIGTERM
# Whether the process turns, on the admin listener's usual port: an outage of the database must not replace containers.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9090/livez', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve"]
