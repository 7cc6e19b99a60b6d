#!/bin/sh
# Is there a Chromium that can open the page of `evaluate`? Where there is none, it is installed, and it is said.
# tests/page/browser.rs looks for the same names in the same order.
set -eu

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
exec "$(dirname "$0")/install.sh" "Chromium (in which a test opens the page of evaluations)" \
    "apt-get=chromium" \
    "dnf=chromium" \
    "pacman=chromium" \
    "zypper=chromium" \
    "apk=chromium"
