#!/usr/bin/env bash
# Builds the Dockerfile as it stands and tries the image, on a machine that reaches a Debian mirror and crates.io but no
# container registry: both base images are made here. A developer's tool, not a part of CI; see deploy/README.md.
set -euo pipefail

usage() {
    cat <<'END'
usage: deploy/try-image.sh [--keep] [--work DIR] [--jobs N] [--ports HTTP ADMIN]

  --keep               leave the work folder (images, caches, logs); the next run with the same --work is faster
  --work DIR           folder for all that it makes, about 4 GB (default: a new one under /var/tmp)
  --jobs N             compilations at a time, settled when the bases are made (default: one a core)
  --ports HTTP ADMIN   ports of this machine that the host listens on (default: 18080 19090)
END
}

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
example=$repository/examples/harbor-watch
mirror=http://deb.debian.org/debian
image=localhost/roadstead:try
builder_base=localhost/roadstead-try-builder
runtime_base=localhost/roadstead-try-runtime
keep='' work='' jobs=$(nproc) http_port=18080 admin_port=19090
buildah=() host_run=''

say() { echo "==> $((SECONDS / 60)) min: $*"; }
fail() {
    echo "error: $*" >&2
    exit 1
}

read_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
        --keep) keep=yes ;;
        --work) work=${2:?--work needs a folder} && shift ;;
        --jobs) jobs=${2:?--jobs needs a number} && shift ;;
        --ports) http_port=${2:?--ports needs two numbers} admin_port=${3:?--ports needs two numbers} && shift 2 ;;
        --help | -h) usage && exit ;;
        *) usage >&2 && exit 2 ;;
        esac
        shift
    done
    [ "$(id -u)" = 0 ] || fail 'this needs root: debootstrap and the chroot isolation of buildah do'
    command -v apt-get >/dev/null || fail 'this needs a Debian or Ubuntu machine'
    command -v rustc >/dev/null || fail 'this needs a Rust toolchain (https://rustup.rs), which it copies'
}

prepare() {
    local package missing=()
    for package in buildah debootstrap curl procps; do
        dpkg --status "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        say "installing ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update --quiet --quiet
        apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}" >/dev/null
    fi
    for port in "$http_port" "$admin_port"; do
        ! (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is taken; choose others with --ports"
    done
    [ -n "$work" ] || work=$(mktemp --directory /var/tmp/roadstead-image.XXXXXX)
    mkdir -p "$work/tmp"
    work=$(cd "$work" && pwd)
    trap clean_up EXIT
    # The Dockerfile's cache mounts live there.
    export TMPDIR=$work/tmp
    # Storage of its own: the machine's other images and containers are neither seen nor touched.
    buildah=(buildah --root "$work/storage" --runroot "$work/runroot" --storage-driver)
    # vfs copies every layer whole, but works on any file system.
    if "${buildah[@]}" overlay info >/dev/null 2>&1; then buildah+=(overlay); else buildah+=(vfs); fi
    say "work folder $work, storage driver ${buildah[-1]}"
}

clean_up() {
    local status=$?
    trap - EXIT
    [ -z "$host_run" ] || kill -KILL "$(roadstead_process)" "$host_run" 2>/dev/null || true
    "${buildah[@]}" rm --all >/dev/null 2>&1 || true
    if [ -n "$keep" ]; then
        echo "kept: $work (remove it with: rm -rf --one-file-system $work)"
    else
        rm -rf --one-file-system "$work"
    fi
    exit "$status"
}

# What BUILDER_IMAGE and RUNTIME_IMAGE are by default, from Debian's packages and this machine's Rust toolchain.
make_bases() {
    local container root
    if "${buildah[@]}" inspect --type image "$builder_base" >/dev/null 2>&1; then return; fi
    say 'base of the builder: Debian 12 by debootstrap, and the Rust toolchain of this machine (2 min)'
    container=$("${buildah[@]}" from scratch)
    root=$("${buildah[@]}" mount "$container")
    timeout 20m debootstrap --variant=minbase --include=build-essential,ca-certificates bookworm "$root" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || {
        tail -n 20 "$work/debootstrap.log" >&2
        fail 'debootstrap failed'
    }
    make_runtime_base "$root"
    add_toolchain "$root"
    "${buildah[@]}" config --env CARGO_HOME=/usr/local/cargo --env "CARGO_BUILD_JOBS=$jobs" \
        --env CARGO_HTTP_CAINFO=/etc/machine-ca.crt \
        --env PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    "${buildah[@]}" commit --quiet --rm "$container" "$builder_base" >/dev/null
}

add_toolchain() {
    local root=$1 toolchain
    toolchain=$(cd "$repository" && rustc --print sysroot)
    mkdir -p "$root/usr/local/rust" "$root/usr/local/cargo"
    cp -a "$toolchain/bin" "$toolchain/lib" "$root/usr/local/rust/"
    # For machines behind an intercepting proxy. Cargo alone uses it: the certificates of the image are Debian's.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/machine-ca.crt"
}

# Like the distroless image: the C library, libgcc, two users, and no shell.
make_runtime_base() {
    local debian=$1 container root package
    say 'base of the image: base-files, libc6 and libgcc-s1 of Debian 12'
    container=$("${buildah[@]}" from scratch)
    root=$("${buildah[@]}" mount "$container")
    mkdir "$debian/packages"
    timeout 5m chroot "$debian" sh -c 'cd /packages &&
        apt-get --quiet --quiet --option APT::Sandbox::User=root download base-files libc6 libgcc-s1'
    for package in "$debian"/packages/*.deb; do
        dpkg-deb --extract "$package" "$root"
    done
    rm -r "$debian/packages"
    printf '%s\n' root:x:0:0::/root:/sbin/nologin nonroot:x:65532:65532::/home/nonroot:/sbin/nologin >"$root/etc/passwd"
    printf '%s\n' root:x:0: nonroot:x:65532: >"$root/etc/group"
    "${buildah[@]}" commit --quiet --rm "$container" "$runtime_base" >/dev/null
}

build_image() {
    local revision
    revision=$(git -C "$repository" rev-parse HEAD 2>/dev/null) || revision=unknown
    say "image: the Dockerfile, unchanged (20 min on two busy cores; log: $work/build.log)"
    # HEALTHCHECK is of Docker's image format; OCI's has no place for it.
    timeout 150m nice -n 15 "${buildah[@]}" bud --isolation chroot --format docker --pull-never \
        --build-arg "BUILDER_IMAGE=$builder_base" --build-arg "RUNTIME_IMAGE=$runtime_base" \
        --build-arg VERSION=try --build-arg "REVISION=$revision" \
        --tag "$image" --file "$repository/Dockerfile" "$repository" >"$work/build.log" 2>&1 || {
        tail -n 30 "$work/build.log" >&2
        fail 'the build failed'
    }
}

show_image() {
    local layer
    say 'what the image is'
    echo "size:         $("${buildah[@]}" images --format '{{.Size}}' "$image")"
    echo "its base:     $("${buildah[@]}" images --format '{{.Size}}' "$runtime_base")"
    "${buildah[@]}" inspect --type image --format 'user:         {{.Docker.Config.User}}
entry point:  {{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}}
health check: {{.Docker.Config.Healthcheck}}
ports:        {{.Docker.Config.ExposedPorts}}
labels:       {{println .Docker.Config.Labels}}' "$image"
    "${buildah[@]}" push --quiet --format oci "$image" "dir:$work/exported" >/dev/null
    layer=$(grep -o 'sha256:[0-9a-f]\{64\}' "$work/exported/manifest.json" | tail -n 1)
    echo 'files that the Dockerfile adds to its base:'
    tar --list --verbose --numeric-owner --file "$work/exported/${layer#sha256:}" | sed 's/^/  /'
    rm -rf "$work/exported"
}

# The process of the host, by way of the processes that `buildah run` started.
roadstead_process() {
    local process=$host_run
    while [ -n "$process" ] && [ "$(cat "/proc/$process/comm")" != roadstead ]; do
        process=$(pgrep --parent "$process" | head -n 1)
    done
    echo "$process"
}

run_in() {
    "${buildah[@]}" run --isolation chroot --cap-drop all --volume "$example:/app:ro" "$@"
}

# A host that runs from the image as it would by default, but for the ports, answers the example's request.
try_image() {
    local container words attempt process
    if ! [ -f "$example/components/api-gateway-archive.wasm" ] || ! [ -f "$example/components/sar-processor-archive.wasm" ]; then
        say 'components of the example: cargo xtask guests (a few minutes)'
        (cd "$repository" && timeout 60m cargo xtask guests)
    fi
    container=$("${buildah[@]}" from --pull-never "$image")
    "${buildah[@]}" config --env "ROADSTEAD_HTTP_ADDR=127.0.0.1:$http_port" \
        --env "ROADSTEAD_ADMIN_ADDR=127.0.0.1:$admin_port" "$container"
    # `buildah run` does not look at the image's command.
    mapfile -t words < <("${buildah[@]}" inspect --type image --format \
        '{{range .Docker.Config.Entrypoint}}{{println .}}{{end}}{{range .Docker.Config.Cmd}}{{println .}}{{end}}' "$image")
    say "running: ${words[*]}"
    run_in "$container" -- "${words[@]}" >"$work/host.log" 2>&1 &
    host_run=$!
    for ((attempt = 0; attempt < 300; attempt++)); do
        kill -0 "$host_run" 2>/dev/null || break
        ! curl --silent --fail --output /dev/null --max-time 2 "http://127.0.0.1:$admin_port/readyz" || break
        sleep 0.2
    done
    curl --silent --fail --output /dev/null --max-time 2 "http://127.0.0.1:$admin_port/readyz" || {
        cat "$work/host.log" >&2
        fail 'the host did not become ready'
    }
    process=$(roadstead_process)
    echo "it runs as: $(sed -n -E 's/^(Uid|Gid|CapEff):\s+(\S+).*/\1 \2/p' "/proc/$process/status" | xargs)"
    run_in "$container" -- roadstead health || fail 'roadstead health says that it is not well'
    echo 'roadstead health: well'
    ask
    stop "$process"
    if run_in "$container" -- roadstead health >"$work/health.log" 2>&1; then
        fail 'roadstead health says that a stopped host is well'
    fi
    echo "roadstead health, once it is stopped: $(head -n 1 "$work/health.log")"
}

ask() {
    local answer=$work/answer.json status
    status=$(curl --silent --show-error --max-time 60 --output "$answer" \
        --write-out '%{http_code}, %{size_download} bytes' \
        --header 'Host: harborwatch.localhost' --header 'Content-Type: application/json' \
        --data '{"region":"singapore","sar_width":512,"sar_height":512,"seed":42,"density":0.5,"force_cpu":true}' \
        "http://127.0.0.1:$http_port/api/detect")
    echo "POST /api/detect: $status: $(head --bytes 160 "$answer")..."
    grep -q '"type": *"FeatureCollection"' "$answer" || fail 'that is not what the example answers'
}

stop() {
    local process=$1 status=0
    kill -TERM "$process"
    # It gives requests under way 30 s at most.
    timeout 60 tail --pid="$host_run" --follow /dev/null
    wait "$host_run" || status=$?
    host_run=''
    echo "stopped by SIGTERM: exit code $status"
    [ "$status" = 0 ] || fail 'it was to be 0'
}

read_arguments "$@"
prepare
make_bases
build_image
show_image
try_image
say 'the image works'
