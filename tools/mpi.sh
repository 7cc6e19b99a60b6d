#!/bin/sh
# Installs what the feature `mpi` needs to be built and run: Open MPI, and libclang, with which
# bindgen reads the header of MPI. Another MPI, such as MPICH or a cluster's, is taken if its
# `mpicc` and `mpirun` are on the path.
set -eu

# Whether libclang.so is in one of the folders in which the crate clang-sys looks for it.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    command -v llvm-config >/dev/null 2>&1 && return 0
    for library in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/libclang*.so* /usr/lib64/libclang*.so* \
        /usr/lib64/llvm*/lib/libclang*.so* /usr/lib/*-linux-*/libclang*.so*; do
        case $library in
        *libclang-cpp*) continue ;;
        esac
        [ -e "$library" ] && return 0
    done
    return 1
}

if command -v mpicc >/dev/null 2>&1 && command -v mpirun >/dev/null 2>&1 && has_libclang; then
    exit 0
fi
exec "$(dirname "$0")/install.sh" "MPI or libclang (for the feature mpi)" \
    "apt-get=libopenmpi-dev openmpi-bin libclang-dev" \
    "dnf=openmpi-devel clang-devel" \
    "pacman=openmpi clang" \
    "zypper=openmpi4-devel clang-devel" \
    "apk=openmpi-dev clang-dev"
