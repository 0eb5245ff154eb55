# One image for web, workers and beat; docker-compose.yml says which command each runs.
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/venv
COPY requirements.txt .
RUN /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps -r requirements.txt

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SIGNET_DATA_DIR=/data
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin signet \
    && install -d -o signet -g signet /data /app/staticfiles
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY . .
RUN SIGNET_DATA_DIR=/tmp/build python manage.py collectstatic --noinput --verbosity 0 && rm -rf /tmp/build
USER signet
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["uvicorn", "config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--loop", "mlops.runtime.loops:ExecutionEventLoop", "--http", "httptools", "--ws", "config.websockets:WebSocketProtocol", "--no-proxy-headers", "--timeout-graceful-shutdown", "30", "--ws-max-size", "1000000"]
