#!/bin/sh
# Unpacks the libraries of Debian packages, and of all that they depend on, into a folder that is the root of a container
# image. It is run in the Dockerfile alone, on Debian. Programs and the packages' own scripts are left out, so that only
# libraries will do.
set -eu

usage='usage: make-root.sh [--beside ROOT] ROOT PACKAGE...   (--beside: leave out what that root has already)'
beside=
if [ "${1-}" = --beside ]; then
    beside=${2:?$usage}
    shift 2
fi
root=${1:?$usage}
shift
: "${1:?$usage}"

# As on a machine that has no package yet: what the builder happens to have is no part of the image.
apt() {
    apt-get --option Dir::State::status=/dev/null --option Debug::NoLocking=true --option APT::Sandbox::User=root \
        --no-install-recommends --yes "$@"
}

# Libraries with the licences that go with them, and where drivers say that they are there.
keep_libraries() {
    rm -rf "$1"/usr/lib/python* "$1"/usr/lib/*/gconv "$1"/usr/lib/*/audit
    find "$1" ! -type d ! -path '*/lib*/*.so' ! -path '*/lib*/*.so.*' ! -path '*/usr/share/doc/*/copyright' \
        ! -path '*/usr/share/vulkan/*' ! -path '*/usr/share/libdrm/*' ! -path '*/usr/share/drirc.d/*' -delete
}

apt --quiet --quiet --download-only install "$@"
packages=$(apt --simulate install "$@" | sed -n 's/^Inst \([^ :]*\).*/\1/p' | sort)
mkdir -p "$root/var/lib/dpkg/status.d"
for package in $packages; do
    if [ -n "$beside" ] && [ -e "$beside/var/lib/dpkg/status.d/$package" ]; then continue; fi
    archive=$(ls "/var/cache/apt/archives/${package}"_*.deb)
    unpacked=$(mktemp -d)
    chmod 755 "$unpacked"
    dpkg-deb --extract "$archive" "$unpacked"
    keep_libraries "$unpacked"
    if [ -n "$(find "$unpacked" -name '*.so*')" ]; then
        cp -a "$unpacked/." "$root/"
        # Where scanners for vulnerabilities look for packages that no dpkg has installed.
        dpkg-deb --field "$archive" >"$root/var/lib/dpkg/status.d/$package"
        echo "$package $(dpkg-deb --field "$archive" Version)"
    fi
    rm -r "$unpacked"
done
find "$root" -type d -empty -delete
