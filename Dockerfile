# The container image of a Roadstead host: the program, CA certificates, and a C library to run on.
# docs/container.md says how to run it, deploy/try-image.sh builds and tries it where there is no registry.

ARG BUILDER_IMAGE=docker.io/library/rust:1.95-bookworm
# It has the C library, libgcc and nothing to log in with: no shell, no package manager. The program needs no more, and
# the stage below runs nothing, so that any Debian 12 will do in its place (debian:bookworm-slim, to look around in).
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER_IMAGE} AS builder
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# One unit a crate makes the fastest code; builds outside of the image do without, for their time.
ENV CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
# The mounts keep downloaded and built dependencies from one build to the next. Cargo tells changed sources by their
# times, and those of a checkout may be older than the cached build of another commit: `touch` makes ours the newest.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --release --locked --bin roadstead \
    && install -D --mode=0755 target/release/roadstead /out/roadstead

FROM ${RUNTIME_IMAGE}
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /out/roadstead /usr/local/bin/roadstead

# Read by both `roadstead run` and `roadstead health`, which therefore agree. The admin address has no access control:
# it stays inside the container until the one who runs it says otherwise.
ENV ROADSTEAD_HTTP_ADDR=0.0.0.0:8080 \
    ROADSTEAD_ADMIN_ADDR=127.0.0.1:9090
EXPOSE 8080 9090
# Before the user, so that it is root's: the host is to read there, not to write.
WORKDIR /app
# Numeric, because Kubernetes cannot tell that a name is not root (runAsNonRoot).
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["roadstead", "health"]
ENTRYPOINT ["roadstead"]
CMD ["run", "/app"]

# Last, because they change with every build.
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Roadstead" \
      org.opencontainers.image.description="A multi-tenant WebAssembly edge host" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
