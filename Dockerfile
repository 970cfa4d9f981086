# One image a room of the pipeline: data (Feast, Great Expectations), train (torch), serving (ONNX Runtime, no torch).
# `make images` builds all three; any engine will do, BuildKit or not.
#
#   BASE_IMAGE   what the images stand on: Debian or the like, with python3.11
#   BUILD_IMAGE  where packages are installed: BASE_IMAGE, or one that adds what pip needs to reach them
#   VARIANT      cpu, or cuda with the CUDA libraries, which pip brings and the driver's container toolkit completes
#   TORCH_INDEX  an index where pip finds torch for the CPU; empty where pip's own configuration knows one
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG BUILD_IMAGE=${BASE_IMAGE}

# --- packages, from the lock ------------------------------------------------------------------------------------------

# pip and the writer of the bills of materials live beside the environment, not in it.
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
# ONNX Runtime comes with the CPU and the CUDA provider in one package; the CPU images leave the large one out.
RUN /opt/tools/bin/pip install . \
    && cd $SITE && rm -r pyarrow/include pyarrow/tests onnxruntime/transformers \
       onnxruntime/capi/libonnxruntime_providers_tensorrt.so \
    && if [ "$VARIANT" = cpu ]; then rm onnxruntime/capi/libonnxruntime_providers_cuda.so; \
       else /opt/tools/bin/pip install 'onnxruntime-gpu[cuda,cudnn]'; fi

# Kubeflow's executor runs each step from the kfp package alone: none of what kfp depends on is for containers. Feast asks
# for mypy and brings a web page for its registry: no container runs either, nor the tests that packages bring.
FROM builder AS data-packages
RUN /opt/tools/bin/pip install '.[data]' && /opt/tools/bin/pip install --no-deps kfp \
    && /opt/tools/bin/pip uninstall --yes mypy mypy_extensions ast-serialize librt pathspec types-greenlet \
    && cd $SITE && rm -r feast/ui pandas/tests ibis/backends/tests \
    && find scipy dask -type d -name tests -prune -exec rm -r {} + \
    && /opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.json /opt/venv/bin/python

# torch first and alone, so that no other package chooses its build: on PyPI it is the one for CUDA.
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

# A service has no use for Arrow Flight, nor for pillow, which KServe's package asks for.
FROM builder AS serving-packages
RUN /opt/tools/bin/pip install '.[serving]' \
    && /opt/tools/bin/pip uninstall --yes mypy mypy_extensions ast-serialize librt pathspec types-greenlet pillow \
    && cd $SITE && rm -r feast/ui pandas/tests pyarrow/_flight* pyarrow/libarrow_flight* \
       pyarrow/libarrow_python_flight* \
    && find dask -type d -name tests -prune -exec rm -r {} + \
    && /opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.json /opt/venv/bin/python

# The project alone, as a layer over the packages: a change of source moves no gigabytes.
FROM builder AS project
COPY . .
RUN /opt/tools/bin/pip install --no-deps --prefix /opt/project .

# --- images -----------------------------------------------------------------------------------------------------------

FROM ${BASE_IMAGE} AS runtime
# USER and LOGNAME: some libraries ask for a name, which an arbitrary uid does not have.
# OMP_WAIT_POLICY: a thread of OpenMP that spins for others, where cores are limited, keeps them from finishing.
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
# The port of HTTP, for the service and for the health check; Knative and others set it as well. gRPC has the next one.
# The index's tables on huge pages, where the host leaves that to the program: a scan of a million items takes a sixth less.
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
