#!/bin/sh
# PTX of the test kernels, with source lines. clang-19 from Debian; no CUDA toolkit.
set -e
cd "$(dirname "$0")"
clang-19 -x cuda --cuda-device-only -nocudainc -nocudalib -S -O3 -std=c++17 -Wall -Wno-unknown-cuda-version \
  --cuda-gpu-arch=sm_80 --cuda-feature=+ptx70 -g -fdebug-compilation-dir=. -ffile-prefix-map="$PWD"=. probe.cu -o probe.ptx
clang-22 -x cuda --cuda-device-only -nocudainc -nocudalib -S -O3 -std=c++17 -Wall -Wno-unknown-cuda-version \
  --cuda-gpu-arch=sm_90a --cuda-feature=+ptx80 -g -fdebug-compilation-dir=. -ffile-prefix-map="$PWD"=. hopper.cu -o hopper.ptx
