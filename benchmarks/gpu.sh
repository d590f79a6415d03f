#!/usr/bin/env bash
# All measurements of SELNeXt on a GPU in one call of at most 8 minutes: see --help.
#
#   bash benchmarks/gpu.sh --fetch-wheels DIR [PYTHON_VERSION]   # where there is a network, once
#   bash benchmarks/gpu.sh --out DIR [--wheels DIR] ...          # on the machine with the GPU
#
# --fetch-wheels: packages that images with torch lack, for Python 3.12 on x86-64, into DIR (10 MB);
# versions as in requirements/lock.txt. --wheels installs them into a temporary folder, without a
# network; the checkout itself is not installed. PYTHON names the interpreter (default: python3).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}

if [ "${1:-}" = --fetch-wheels ]; then
    wheels=${2:?"--fetch-wheels DIR: the folder is missing"}
    platforms=()
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
        platforms+=(--platform "${tag}_x86_64")
    done
    # mmcv-lite, whose operators selnext_mm has, needs no compiler.
    exec "$python" -m pip download --no-deps --only-binary=:all: --implementation cp \
        --python-version "${3:-3.12}" "${platforms[@]}" -c "$root/requirements/lock.txt" \
        -d "$wheels" mmengine==0.10.7 mmcv-lite==2.1.0 mmdet==3.3.0 mmpretrain==1.2.0 \
        addict yapf platformdirs termcolor terminaltables pycocotools shapely mat4py \
        model-index modelindex ordered-set importlib-metadata zipp setuptools
fi

arguments=()
site=
while [ $# -gt 0 ]; do
    case $1 in
    --wheels)
        wheels=${2:?"--wheels DIR: the folder is missing"}
        site=$(mktemp -d)
        trap 'rm -rf "$site"' EXIT
        "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
            --disable-pip-version-check --target "$site" "$wheels"/*.whl
        shift 2
        ;;
    *)
        arguments+=("$1")
        shift
        ;;
    esac
done

export PYTHONPATH="$root${site:+:$site}${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
# Not exec: the folder of the wheels is removed afterwards.
status=0
"$python" -W ignore "$root/benchmarks/gpu.py" --elapsed "$SECONDS" "${arguments[@]}" || status=$?
exit "$status"
