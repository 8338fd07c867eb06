#!/usr/bin/env bash
# Install what the job needs into an image of Debian with Python: Dockerfile and image.def, beside it, run this script in
# the folder with requirements.txt and constraints.txt. PACKAGES names further packages of Python, such as "s3fs gcsfs".
set -euo pipefail

# g++: model.compile. curl: shards behind https. The rest: NCCL finds InfiniBand and RoCE adapters by these libraries.
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends g++ curl libibverbs1 ibverbs-providers librdmacm1
rm -rf /var/lib/apt/lists/*
read -ra packages <<<"${PACKAGES:-}"
python -m pip install --no-cache-dir --requirement requirements.txt --constraint constraints.txt "${packages[@]}"
