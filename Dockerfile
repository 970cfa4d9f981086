# Three images: data (Feast, Great Expectations), train (torch), serving (ONNX Runtime, without torch).
# `make images` builds them, with or without BuildKit.
#
#   BASE_IMAGE   base of the images: Debian or a derivative, with python3.11
#   BUILD_IMAGE  image in which packages are installed: BASE_IMAGE, or one with the pip settings of your network
#   VARIANT      cpu or cuda; cuda adds the CUDA libraries from pip, the host provides driver and container toolkit
#   TORCH_INDEX  package index with the CPU build of torch; empty where pip's own configuration has one
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG BUILD_IMAGE=${BASE_IMAGE}

# --- packages, from the lock ------------------------------------------------------------------------------------------

# pip and cyclonedx (bills of materials) are installed beside the environment, not in it.
FROM ${BUILD_IMAGE} AS builder
WORKDIR /src
COPY pyproject.toml requirements.lock LICENSE ./
RUN python3.11 -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --no-cache-dir --upgrade pip \
    && /opt/tools/bin/pip install --quiet --no-cache-dir --constraint requirements.lock cyclonedx-bom \
    && python3.11 -m venv --without-pip /opt/venv \
    && touch README.md
ENV PIP_PYTHON=/opt/venv/bin/python PIP_CONSTRAINT=/src/requirements.lock PIP_NO_CACHE_DIR=1 PIP_QUIET=1 \
    SITE=/opt/venv/lib/python3.11/site-packages
ARG VARIANT=cpu
# ONNX Runtime ships its CPU and CUDA providers in one package. The CPU images remove the CUDA one, which is large.
RUN /opt/tools/bin/pip install . \
    && cd $SITE && rm -r pyarrow/include pyarrow/tests onnxruntime/transformers \
       onnxruntime/capi/libonnxruntime_providers_tensorrt.so \
    && if [ "$VARIANT" = cpu ]; then rm onnxruntime/capi/libonnxruntime_providers_cuda.so; \
       else /opt/tools/bin/pip install 'onnxruntime-gpu[cuda,cudnn]'; fi

# Kubeflow's executor needs the kfp package alone, not its dependencies. Feast depends on mypy and ships a web page for its
# registry; no container uses them, nor the tests that packages ship.
FROM builder AS data-packages
RUN /opt/tools/bin/pip install '.[data]' && /opt/tools/bin/pip install --no-deps kfp \
    && /opt/tools/bin/pip uninstall --yes mypy mypy_extensions ast-serialize librt pathspec types-greenlet \
    && cd $SITE && rm -r feast/ui pandas/tests ibis/backends/tests \
    && find scipy dask -type d -name tests -prune -exec rm -r {} + \
    && /opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.json /opt/venv/bin/python

# torch first and alone, so that no other package chooses its build: PyPI has the CUDA build.
FROM builder AS train-packages
ARG VARIANT=cpu
ARG TORCH_INDEX=
RUN if [ "$VARIANT" = cpu ] && [ -n "$TORCH_INDEX" ]; then export PIP_EXTRA_INDEX_URL="$TORCH_INDEX"; fi \
    && /opt/tools/bin/pip install "$(grep '^torch==' requirements.lock)"
RUN /opt/tools/bin/pip install '.[train]' && /opt/tools/bin/pip install --no-deps kfp \
    && cd $SITE && rm -rf torch/include torch/test pyarrow/_flight* pyarrow/libarrow_flight* \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find scipy sympy networkx -type d -name tests -prune -exec rm -r {} + \
    && /opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.json /opt/venv/bin/python

# The service does not use Arrow Flight, nor pillow, which kserve depends on. The deploy step, which asks the service before
# it promotes a release, runs in this image too, and needs Kubeflow's executor.
FROM builder AS serving-packages
RUN /opt/tools/bin/pip install '.[serving]' && /opt/tools/bin/pip install --no-deps kfp \
    && /opt/tools/bin/pip uninstall --yes mypy mypy_extensions ast-serialize librt pathspec types-greenlet pillow \
    && cd $SITE && rm -r feast/ui pandas/tests pyarrow/_flight* pyarrow/libarrow_flight* \
       pyarrow/libarrow_python_flight* \
    && find dask -type d -name tests -prune -exec rm -r {} + \
    && /opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.json /opt/venv/bin/python

# The project is a layer of its own over the packages, so that a change of source transfers little.
FROM builder AS project
COPY . .
RUN /opt/tools/bin/pip install --no-deps --prefix /opt/project .

# --- images -----------------------------------------------------------------------------------------------------------

FROM ${BASE_IMAGE} AS runtime
# USER and LOGNAME: some libraries ask for a user name, which an arbitrary uid does not have.
# OMP_WAIT_POLICY: with few cores, an OpenMP thread that spins while it waits keeps the others from finishing.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp USER=two-tower LOGNAME=two-tower LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=PASSIVE
WORKDIR /tmp
USER 10001:10001

FROM runtime AS data
COPY --from=data-packages /opt/venv /opt/venv
COPY --from=data-packages /opt/sbom.json /sbom.json
COPY --from=project /opt/project /opt/venv
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="two-tower-data" \
      org.opencontainers.image.description="two-tower pipeline steps on data: Feast, Great Expectations, DuckDB" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS train
COPY --from=train-packages /opt/venv /opt/venv
COPY --from=train-packages /opt/sbom.json /sbom.json
COPY --from=project /opt/project /opt/venv
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="two-tower-train" \
      org.opencontainers.image.description="two-tower pipeline steps on models: torch, ONNX, evaluation, releases" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS serving
COPY --from=serving-packages /opt/venv /opt/venv
COPY --from=serving-packages /opt/sbom.json /sbom.json
COPY --from=project /opt/project /opt/venv
# PORT: HTTP port of the service and the health check; Knative sets it too. gRPC listens on PORT + 1.
# GLIBC_TUNABLES: huge pages for the index, where the host permits: scanning a million items takes a sixth less time.
ENV PORT=8080 GLIBC_TUNABLES=glibc.malloc.hugetlb=1
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-IS", "-c", \
    "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/v2/health/ready', timeout=4)"]
ENTRYPOINT ["two-tower", "serve", "--host", "0.0.0.0"]
CMD ["--releases", "/releases"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="two-tower-serving" \
      org.opencontainers.image.description="two-tower service: ONNX Runtime and the Feast online store, no torch" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
