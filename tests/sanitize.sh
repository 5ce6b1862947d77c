#!/usr/bin/env bash
# The native scanner under the address and undefined-behaviour sanitizers, on broken files, with
# its memory counted and running out, reads interrupted and cut short. Needs gcc.
# Arguments go to pytest: tests/sanitize.sh --mutations 100000
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${VENV:+$PWD/$VENV/bin:}$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree="$work/checkout"
mkdir "$tree"
cp -r watcher rules tests pyproject.toml "$tree"
if [ -d ../shared ]; then ln -s "$(realpath ../shared)" "$work/shared"; fi
include=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')
rm -f "$tree"/watcher/source/_scan*.so
gcc -O1 -g -shared -fPIC -fsanitize=address,undefined -fno-sanitize-recover=all \
    -DPy_LIMITED_API=0x030B0000 -I"$include" -include tests/sanitize/hostile.h \
    watcher/source/_scan.c -o "$tree/watcher/source/_scan.abi3.so"
cd "$tree"
# The interpreter leaves memory behind when it ends; ours is counted instead.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 PYTHONMALLOC=malloc
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" PYTHONPATH=. \
    python -m pytest -q -p no:cacheprovider tests/sanitize/hostile.py tests/source/test_native.py "$@"
