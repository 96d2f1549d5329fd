#!/bin/sh
# `make setup`: make .venv with ascnet and everything that it needs.
#
# System packages that are missing are installed by root, or where sudo asks for no password, with
# apt-get or dnf; everybody else is told all of them at once.
#   PYTHON=/path/to/python3.12   the Python to use  [default: python3, or a newer one on the path]
#   SYSTEM=no                    install no system packages, only name them
set -eu
cd -- "$(dirname -- "$0")"
oldest=11  # of Python 3

is_new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < (3, $oldest))" 2>/dev/null
}

choose_python() {
    python=${PYTHON:-python3}
    if [ -z "${PYTHON:-}" ] && ! is_new_enough "$python"; then
        for newer in python3.14 python3.13 python3.12 python3.11; do
            if is_new_enough "$newer"; then
                python=$newer
                break
            fi
        done
    fi
}

has_header() {  # NAME: whether a C program finds it
    printf '#include <stdio.h>\n#include <%s>\n' "$1" |
        ${CC:-cc} -E -I"$include" - >/dev/null 2>&1
}

need() {  # WORDS PACKAGES-OF-DEBIAN PACKAGES-OF-FEDORA: note what is missing
    missing="$missing${missing:+, }$1"
    debian="$debian${debian:+ }$2"
    fedora="$fedora${fedora:+ }$3"
}

look() {  # what is missing, and the packages that hold it
    missing='' debian='' fedora='' include=.
    choose_python
    if ! is_new_enough "$python"; then
        [ -z "${PYTHON:-}" ] || stop "$PYTHON is not Python 3.$oldest or newer: name another with PYTHON."
        package=python3
        ! command -v python3 >/dev/null || package=python3.$oldest  # beside the older one
        need "Python 3.$oldest or newer (or PYTHON=/path/to/one)" "$package $package-venv" "$package"
    else
        case ${python##*/} in
            python | python3) package=python3 ;;
            *) package=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])') ;;
        esac
        include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            need "Python's venv" "$package-venv" "$package-libs"
    fi
    # pillow-simd is compiled here.
    ${CC:-cc} --version >/dev/null 2>&1 || need "a C compiler" "gcc libc6-dev" gcc
    has_header Python.h || need "Python's C headers" "$package-dev" "$package-devel"
    has_header jpeglib.h || need "libjpeg's headers" libjpeg-dev libjpeg-turbo-devel
    has_header zlib.h || need "zlib's headers" zlib1g-dev zlib-devel
}

stop() {
    echo "$*" >&2
    exit 1
}

find_root() {  # in `as_root` what runs a command as root without asking; fails if nothing does
    as_root=''
    [ "${SYSTEM:-}" != no ] || return 1
    [ "$(id -u)" != 0 ] || return 0
    as_root='sudo -n'
    sudo -n true 2>/dev/null
}

install_missing() {
    if command -v apt-get >/dev/null; then
        echo "Installing with apt-get: $debian (make setup SYSTEM=no would not)"
        quietly="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
        $quietly update || true  # what is there may do
        $quietly install -y --no-install-recommends $debian >/dev/null
    elif command -v dnf >/dev/null; then
        echo "Installing with dnf: $fedora (make setup SYSTEM=no would not)"
        $as_root dnf install -y -q $fedora
    fi
}

tell_missing() {
    echo "Missing here: $missing. Install all that as root, then give the same command again:"
    command -v dnf >/dev/null || echo "  apt-get install $debian   (Debian, Ubuntu)"
    command -v apt-get >/dev/null || echo "  dnf install $fedora   (Fedora)"
}

look
if [ -n "$missing" ] && find_root; then
    install_missing || true  # what is still missing is told
    look
fi
[ -z "$missing" ] || stop "$(tell_missing)"
echo "Installing ascnet and what it needs in .venv"
"$python" -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
touch .venv/.ready
