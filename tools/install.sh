#!/bin/sh
# Prints and runs the command that installs system packages. Without the permission to install, it
# prints the command and exits with 1. It uses the first listed manager that the system has.
#
#   tools/install.sh WHAT MANAGER=PACKAGES...
#
#   tools/install.sh "Node.js" "apt-get=nodejs npm" "dnf=nodejs"
set -eu

what=$1
shift

# The command of a manager that installs without a prompt.
command_of() {
    case $1 in
    apt-get) echo "apt-get install -y --no-install-recommends" ;;
    dnf) echo "dnf install -y" ;;
    pacman) echo "pacman -S --needed --noconfirm" ;;
    zypper) echo "zypper --non-interactive install" ;;
    apk) echo "apk add" ;;
    *) echo "tools/install.sh: unknown package manager '$1'" >&2 && exit 2 ;;
    esac
}

for entry in "$@"; do
    manager=${entry%%=*}
    packages=${entry#*=}
    install="$(command_of "$manager") $packages"
    command -v "$manager" >/dev/null 2>&1 || continue
    if [ "$(id -u)" = 0 ]; then
        as=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as="sudo "
    else
        echo "$what is missing, and only root can install it. Run:" >&2
        echo "    sudo $install" >&2
        exit 1
    fi
    echo "$what is missing. Installing the system packages '$packages':"
    # The package lists of an image are often empty or too old. If the update fails, try without it.
    if [ "$manager" = apt-get ]; then
        echo "    ${as}apt-get update"
        ${as}apt-get update -q || echo "apt-get update failed; trying with the present lists" >&2
    fi
    echo "    $as$install"
    # The words must be split: these are commands with their arguments.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $as$install
    exit
done

echo "$what is missing, and no known package manager was found. One of these commands installs it:" >&2
for entry in "$@"; do
    echo "    $(command_of "${entry%%=*}") ${entry#*=}" >&2
done
exit 1
