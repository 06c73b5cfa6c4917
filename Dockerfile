# The server and the dashboard in one image; compose.yaml runs both on one volume. Its steps need the package registries alone.
FROM python:3.11-slim AS build
COPY pyproject.toml requirements.lock README.md LICENSE profiles.yml /src/
COPY models_py /src/models_py
COPY udfs /src/udfs
COPY dashboard /src/dashboard
COPY sql /src/sql
COPY dbt_project /src/dbt_project
WORKDIR /src
# opencv-python, which ultralytics asks for, wants libraries of a desktop; the headless build has the same module without them.
RUN python -m venv /opt/duckspect \
    && /opt/duckspect/bin/python -m pip install --no-cache-dir uv \
    && /opt/duckspect/bin/uv pip install --python /opt/duckspect/bin/python --no-cache --compile-bytecode \
        --constraint requirements.lock '.[serve,dashboard,onnx]' \
    && /opt/duckspect/bin/uv pip uninstall --python /opt/duckspect/bin/python opencv-python \
    && /opt/duckspect/bin/uv pip install --python /opt/duckspect/bin/python --no-cache --compile-bytecode "opencv-python-headless>=4.10"

FROM python:3.11-slim
COPY --from=build /opt/duckspect /opt/duckspect
RUN useradd --create-home --uid 1000 duckspect && install -d -o duckspect /plant
USER duckspect
# The socket by which other containers hand commands to the server is on the volume, too: XDG_RUNTIME_DIR.
WORKDIR /plant
VOLUME /plant
ENV PATH=/opt/duckspect/bin:$PATH \
    DUCKSPECT_WAREHOUSE=/plant/warehouse.duckdb \
    XDG_RUNTIME_DIR=/plant \
    PYTHONUNBUFFERED=1
EXPOSE 8480 9494 8501
ENTRYPOINT ["duckspect"]
CMD ["--help"]
