#!/bin/sh
# Installs Chromium if the system has neither Chromium nor Chrome. A test opens the page of
# `evaluate` in it. tests/page/browser.rs looks for the same names in the same order.
set -eu

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
exec "$(dirname "$0")/install.sh" "Chromium (a test opens the page of evaluations in it)" \
    "apt-get=chromium" \
    "dnf=chromium" \
    "pacman=chromium" \
    "zypper=chromium" \
    "apk=chromium"
