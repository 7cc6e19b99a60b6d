#!/bin/sh
# Runs a command on the newer software Vulkan driver (lavapipe) of Debian's backports, so that the
# tests do not depend on one version of Mesa.
#
#   tools/mesa-backports.sh cargo test --release --test kernels
#   tools/mesa-backports.sh                                          prints the path of the driver
#
# The script downloads the package mesa-vulkan-drivers of the release's backports (11 MB) and unpacks
# the driver to target/mesa-backports. This does not change the system and needs no root. The driver
# uses the libraries of Debian's own mesa-vulkan-drivers, which tools/driver.sh installs.
set -eu

package=mesa-vulkan-drivers
library=libvulkan_lvp.so
root=$(cd "$(dirname "$0")/.." && pwd)
kept=$root/target/mesa-backports

fetch() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "The backports are packages of Debian, and this system has no apt-get or dpkg-deb" >&2
        exit 1
    fi
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ ! -e "$keys" ] || [ -z "$release" ]; then
        echo "The backports are for Debian: $keys or the release's name is missing" >&2
        exit 1
    fi
    echo "Downloading the package $package of $release-backports and unpacking its driver to $kept" >&2
    rm -rf "$kept"
    mkdir -p "$kept/lists/partial" "$kept/download"
    echo "deb [signed-by=$keys] http://deb.debian.org/debian $release-backports main" >"$kept/sources.list"
    cd "$kept/download"
    for step in "update" "download $package/$release-backports"; do
        # shellcheck disable=SC2086
        apt-get -q -o Dir::Etc::sourcelist="$kept/sources.list" -o Dir::Etc::sourceparts=- \
            -o Dir::State::lists="$kept/lists" -o Dir::Cache="$kept/download" -o APT::Sandbox::User= $step >&2
    done
    for file in "$package"_*.deb; do
        dpkg-deb --fsys-tarfile "$file" | tar -x -C "$kept" --wildcards --strip-components=4 "./usr/lib/*/$library"
    done
    cd "$root"
    rm -r "$kept/download" "$kept/lists" "$kept/sources.list"
    printf '{"file_format_version": "1.0.0", "ICD": {"api_version": "1.4.0", "library_path": "%s"}}\n' \
        "$kept/$library" >"$kept/lvp_icd.json"
}

driver=$kept/lvp_icd.json
# In a subshell, which may change its folder.
[ -e "$driver" ] || (fetch)
if [ $# = 0 ]; then
    echo "$driver"
    exit
fi
echo "Running on Mesa of the backports: $driver" >&2
export VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver"
exec "$@"
