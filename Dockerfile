# harmoseg on a processor:
#
#     docker build -t harmoseg .
#     docker run --rm -v "$PWD":/data harmoseg compare A=masks/a B=masks/b --truth labels
#
# On CUDA replace this one line by: FROM nvidia/cuda:13.0.2-base-ubuntu24.04
# and run it with --gpus all; the PyTorch of requirements.lock brings CUDA's libraries itself.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY . /opt/harmoseg
RUN make -C /opt/harmoseg .venv/.demo && rm -rf /root/.cache /opt/harmoseg/.uv
ENV PATH=/opt/harmoseg/.venv/bin:$PATH HARMOSEG_CACHE=/data/.harmoseg
WORKDIR /data
ENTRYPOINT ["harmoseg"]
