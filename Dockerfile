# The container image of a Roadstead host: the program, CA certificates, and a C library to run on. docs/container.md says
# how to run it. `cargo xtask image` builds and tries it where there is no registry, tests/it/image.rs all but the compiler.

ARG BUILDER_IMAGE=docker.io/library/rust:1.95-bookworm

FROM ${BUILDER_IMAGE} AS builder
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# One unit a crate makes the fastest code; builds outside of the image do without, for their time. With STRIP=none the
# names of functions stay, for profilers.
ARG STRIP=symbols
ENV CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_STRIP=${STRIP}
# The mounts keep downloaded and built dependencies from one build to the next. Cargo tells changed sources by their
# times, and those of a checkout may be older than the cached build of another commit: `touch` makes ours the newest.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --release --locked --bin roadstead \
    && install -D --mode=0755 target/release/roadstead /out/roadstead

# The C library and libgcc, of the builder's own Debian, and nothing to log in with: no shell, no package manager.
FROM ${BUILDER_IMAGE} AS root
COPY deploy/image/make-root.sh /usr/local/bin/make-root.sh
RUN apt-get update && make-root.sh /root-of-image libc6 libgcc-s1
# Two users, names by /etc/hosts before DNS, and which Debian it is, for scanners. /app is root's: the host reads there.
RUN cd /root-of-image && mkdir -p app etc tmp usr/lib \
    && cp /usr/lib/os-release usr/lib/os-release && ln -s ../usr/lib/os-release etc/os-release \
    && echo 'root:x:0:0::/:/sbin/nologin' >etc/passwd \
    && echo 'nonroot:x:65532:65532::/:/sbin/nologin' >>etc/passwd \
    && printf 'root:x:0:\nnonroot:x:65532:\n' >etc/group \
    && echo 'hosts: files dns' >etc/nsswitch.conf

# The loader of Vulkan, and what the driver that NVIDIA's container toolkit brings is linked with. Add
# mesa-vulkan-drivers for the GPUs of others, and for lavapipe, which needs none.
FROM root AS gpu-root
ARG GPU_PACKAGES="libvulkan1 libx11-6 libxext6"
RUN make-root.sh --beside /root-of-image /gpu-of-image ${GPU_PACKAGES}

FROM scratch AS common
COPY --from=root /root-of-image/ /
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /out/roadstead /usr/local/bin/roadstead
# The addresses are read by both `roadstead run` and `roadstead health`, which therefore agree. The admin address stays
# inside the container until the one who runs it says otherwise.
ENV PATH=/usr/local/bin \
    ROADSTEAD_HTTP_ADDR=0.0.0.0:8080 \
    ROADSTEAD_ADMIN_ADDR=127.0.0.1:9090
EXPOSE 8080 9090
WORKDIR /app
# Numeric, because Kubernetes cannot tell that a name is not root (runAsNonRoot).
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["roadstead", "health"]
ENTRYPOINT ["roadstead"]
CMD ["run", "/app"]

# `--target gpu`: drivers are found, and components that ask for wasi:webgpu get a GPU.
FROM common AS gpu
COPY --from=gpu-root /gpu-of-image/ /
# The capabilities are what NVIDIA's toolkit is to bring: its Vulkan driver is part of `graphics`. Mesa would keep compiled
# shaders in a file.
ENV ROADSTEAD_WASI_WEBGPU=true \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility \
    MESA_SHADER_CACHE_DISABLE=true
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Roadstead with GPUs" \
      org.opencontainers.image.description="A multi-tenant WebAssembly edge host, with the loader of Vulkan" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The last stage, which is built where nobody asks for another.
FROM common AS roadstead
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Roadstead" \
      org.opencontainers.image.description="A multi-tenant WebAssembly edge host" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
