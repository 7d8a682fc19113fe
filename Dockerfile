# Two images from one build, each from scratch: static binaries, and nothing that they do not run.
#
#   docker build --target mesh  -t mesh.io/mesh:0.1.0 .     # every daemon, and the init container
#   docker build --target proxy -t mesh.io/proxy:0.1.0 .    # the sidecar
#
# `images/build` does it without Docker and without a registry of images.
# Why static, and against which C library: docs/adr/0009-static-binaries.md.

# Whatever has Rust; what else is needed is installed where it is missing.
ARG RUST=docker.io/library/rust:1.95-slim-trixie

FROM ${RUST} AS build
# aws-lc is C; binutils tell whether a binary is static.
RUN if ! command -v g++ cmake make readelf; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends g++ cmake make libc6-dev binutils \
      && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /src
COPY . .
ARG PROFILE=dist
# From what commit, and of when: what proxy_build_info says.
ARG MESH_GIT_SHA=
ARG MESH_BUILD_DATE=
RUN --mount=type=cache,target=/src/target \
    built=$(images/static ${PROFILE}) \
 && images/rootfs /rootfs/mesh $built/mesh $built/mesh-proxy \
 && images/rootfs /rootfs/proxy $built/mesh-proxy

FROM scratch AS proxy
COPY --from=build /rootfs/proxy/ /
USER 2102:2102
ENTRYPOINT ["/usr/local/bin/mesh-proxy"]

FROM scratch AS mesh
COPY --from=build /rootfs/mesh/ /
ENV PATH=/usr/local/bin
USER 2103:2103
ENTRYPOINT ["/usr/local/bin/mesh"]
