#!/bin/sh
# Runs a command on SwiftShader, Google's software Vulkan driver. It has subgroups of 4 lanes, no
# f16, and rounds differently from Mesa's driver (8 lanes), so the tests do not depend on one
# driver.
#
#   tools/swiftshader.sh cargo test --release --test kernels
#   tools/swiftshader.sh                                          prints the path of the driver
#
# The driver is part of Chromium and of Chrome. If neither is installed, the script downloads
# Debian's package chromium-common (31 MB) and unpacks the driver's two files to target/swiftshader.
# This does not change the system and needs no root.
set -eu

name=vk_swiftshader_icd.json
root=$(cd "$(dirname "$0")/.." && pwd)
kept=$root/target/swiftshader
package=chromium-common

find_driver() {
    for folder in "$kept" /usr/lib/chromium /usr/lib64/chromium-browser /opt/google/chrome; do
        if [ -e "$folder/$name" ] && [ -e "$folder/libvk_swiftshader.so" ]; then
            echo "$folder/$name"
            return
        fi
    done
}

fetch() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "SwiftShader is missing: install Chromium or Chrome, which contain it" >&2
        exit 1
    fi
    echo "SwiftShader is missing. Downloading Debian's package $package and unpacking the driver to $kept" >&2
    mkdir -p "$kept/download"
    cd "$kept/download"
    if ! apt-get download -q "$package" >&2; then
        as=""
        [ "$(id -u)" = 0 ] || as="sudo -n"
        echo "The download failed; the package lists may be missing or old. Running: $as apt-get update" >&2
        $as apt-get update -q >&2
        apt-get download -q "$package" >&2 || {
            echo "there is no package $package (Ubuntu has none): install Chrome, which contains SwiftShader" >&2
            exit 1
        }
    fi
    for file in "$package"_*.deb; do
        dpkg-deb --fsys-tarfile "$file" |
            tar -x -C "$kept" --strip-components=4 ./usr/lib/chromium/libvk_swiftshader.so "./usr/lib/chromium/$name"
    done
    cd "$root"
    rm -r "$kept/download"
}

driver=$(find_driver)
if [ -z "$driver" ]; then
    fetch
    driver=$(find_driver)
fi
if [ $# = 0 ]; then
    echo "$driver"
    exit
fi
echo "Running on SwiftShader: $driver" >&2
export VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver"
exec "$@"
