#!/usr/bin/env bash
# Install the programs that dsa is measured against: from Debian what it has, DVC and the AWS command
# line from the Python index into .peers/. What is there already is left as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

packages=()
for need in borg:borgbackup git:git git-annex:git-annex ostree:ostree radosgw:radosgw rclone:rclone restic:restic rsync:rsync; do
  command -v "${need%%:*}" >/dev/null || packages+=("${need##*:}")
done
[[ " ${packages[*]-} " == *" radosgw "* ]] && packages+=(ceph-mon ceph-osd)
if [ ${#packages[@]} -gt 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get update -qq
  for package in "${packages[@]}"; do
    as_root apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
      echo "bench: $package is not to be had here; it will be missing from the table" >&2
  done
fi

if [ ! -x .peers/bin/dvc ]; then
  "${PYTHON:-python3}" -m venv .peers
  .peers/bin/pip install --quiet --disable-pip-version-check 'dvc[s3]' awscli
fi
