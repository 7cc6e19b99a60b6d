#!/bin/sh
# Installs Mesa's software driver (lavapipe) if the system has no GPU driver that wgpu can use.
#
# Linux needs the Vulkan loader (libvulkan.so.1) and at least one driver. A driver is described by a
# JSON file in one of the loader's folders, or named by VK_DRIVER_FILES (formerly VK_ICD_FILENAMES).
# macOS has Metal, Windows has DirectX 12.
set -eu

case $(uname -s) in
Darwin | MINGW* | MSYS* | CYGWIN*) exit 0 ;;
esac

# Whether a driver's JSON file is in one of the loader's folders.
has_driver() {
    named=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    old_ifs=$IFS
    IFS=:
    if [ -n "$named" ]; then
        for file in $named; do
            [ -e "$file" ] && IFS=$old_ifs && return 0
        done
        IFS=$old_ifs
        echo "VK_DRIVER_FILES or VK_ICD_FILENAMES is '$named', but no such file exists: correct it, or unset both" >&2
        exit 1
    fi
    for folder in ${XDG_CONFIG_HOME:-${HOME:-}/.config} ${XDG_CONFIG_DIRS:-/etc/xdg} /etc /usr/local/etc \
        ${XDG_DATA_HOME:-${HOME:-}/.local/share} ${XDG_DATA_DIRS:-} /usr/local/share /usr/share /run/opengl-driver/share; do
        for file in "$folder"/vulkan/icd.d/*.json; do
            [ -e "$file" ] && IFS=$old_ifs && return 0
        done
    done
    IFS=$old_ifs
    return 1
}

has_loader() {
    for folder in /usr/lib /usr/lib64 /lib /usr/local/lib /usr/lib/*-linux-* /lib/*-linux-* /run/opengl-driver/lib; do
        [ -e "$folder/libvulkan.so.1" ] && return 0
    done
    { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | grep -q 'libvulkan\.so\.1' && return 0
    old_ifs=$IFS
    IFS=:
    for folder in ${LD_LIBRARY_PATH:-}; do
        [ -e "$folder/libvulkan.so.1" ] && IFS=$old_ifs && return 0
    done
    IFS=$old_ifs
    return 1
}

if has_driver && has_loader; then
    exit 0
fi
exec "$(dirname "$0")/install.sh" "A Vulkan driver (Mesa's software driver is enough)" \
    "apt-get=mesa-vulkan-drivers libvulkan1" \
    "dnf=mesa-vulkan-drivers vulkan-loader" \
    "pacman=vulkan-swrast vulkan-icd-loader" \
    "zypper=libvulkan_lvp libvulkan1" \
    "apk=mesa-vulkan-swrast vulkan-loader"
