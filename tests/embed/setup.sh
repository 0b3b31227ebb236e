#!/usr/bin/env bash
# Installs, as root on Debian 12, the packages that the scripts of this folder name:
#   tests/embed/setup.sh [NAME...]
set -euo pipefail
cd "$(dirname "$0")"

scripts=("${@/%/.sh}")
[ "${#scripts[@]}" -gt 0 ] || scripts=(*.sh)
missing=()
for package in $(sed -n 's/^# packages: //p' "${scripts[@]}"); do
    # A program of that name that came another way (npm with a Node of its makers) is as good, and excludes the package.
    command -v "$package" >/dev/null && continue
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# The oldest Rust, where rustup is what brings Rust; without it that script is skipped.
for script in "${scripts[@]}"; do
    if [ "$script" = oldest-rust.sh ] && command -v rustup >/dev/null; then
        version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' ../../Cargo.toml)
        rustup toolchain list | grep -q "^$version-" || rustup toolchain install --profile minimal "$version" || true
    fi
done
