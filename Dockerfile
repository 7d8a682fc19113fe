# Two images from one build, each from scratch: what runs in them is in them, and nothing else.
#
#   docker build --target mesh  -t mesh.io/mesh:0.1.0 .     # every daemon, and the init container
#   docker build --target proxy -t mesh.io/proxy:0.1.0 .    # the sidecar
#
# The binaries are linked against glibc, which comes along (with its loader): a static glibc cannot
# resolve names, and Rust's musl target is not in every builder. `images/rootfs` gathers it all.

ARG RUST=docker.io/library/rust:1.95-slim-trixie

FROM ${RUST} AS build
# aws-lc is C; nft redirects a pod's traffic.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc g++ cmake make libc6-dev nftables \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG PROFILE=dist
RUN cargo build --locked --profile ${PROFILE} -p mesh-cli --bin mesh \
 && cargo build --locked --profile ${PROFILE} -p mesh-gateway --bin mesh-proxy
RUN sh images/rootfs /rootfs/mesh target/${PROFILE}/mesh target/${PROFILE}/mesh-proxy /usr/sbin/nft \
 && sh images/rootfs /rootfs/proxy target/${PROFILE}/mesh-proxy

FROM scratch AS proxy
COPY --from=build /rootfs/proxy/ /
USER 2102:2102
ENTRYPOINT ["/usr/local/bin/mesh-proxy"]

FROM scratch AS mesh
COPY --from=build /rootfs/mesh/ /
ENV PATH=/usr/local/bin
USER 2103:2103
ENTRYPOINT ["/usr/local/bin/mesh"]
