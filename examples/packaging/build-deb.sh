#!/usr/bin/env bash
# Builds a Debian package of Surveil: the program, units for systemd, completions, manual pages and documents.
#
#   cargo dist && examples/packaging/build-deb.sh [PROGRAM] [DIRECTORY]
#
# PROGRAM is the finished program, by default the one that `cargo dist` makes. The package is written into DIRECTORY, by
# default the current one, and its path is printed. Needs dpkg-deb, and neither a network nor root.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
architecture=$(dpkg --print-architecture)
program=${1:-$(find "${CARGO_TARGET_DIR:-$top/target}" -path '*/dist/surveil' -type f -printf '%T@ %p\n' 2>/dev/null \
  | sort -n | tail -n 1 | cut -d ' ' -f 2- || true)}
directory=${2:-.}
if [ ! -x "$program" ]; then
  echo "build-deb.sh: there is no program ${program:-yet}: run \`cargo dist\` first, or name one" >&2
  exit 2
fi
program=$(realpath "$program")
version=$("$program" --version | cut -d ' ' -f 2)
name=surveil_${version}_${architecture}

# A fixed time makes the same package of the same sources.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)}
umask 022
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
tree=$place/$name
share=$tree/usr/share
mkdir -p "$tree"/{DEBIAN,usr/bin,usr/lib/systemd/system} "$share"/{man/man1,doc/surveil,bash-completion/completions} \
  "$share"/{zsh/vendor-completions,fish/vendor_completions.d}

install -m 0755 "$program" "$tree/usr/bin/surveil"
"$program" man --into "$share/man/man1"
gzip -9n "$share"/man/man1/*.1
"$program" completions bash > "$share/bash-completion/completions/surveil"
"$program" completions zsh > "$share/zsh/vendor-completions/_surveil"
"$program" completions fish > "$share/fish/vendor_completions.d/surveil.fish"
for unit in "$top"/examples/systemd/*.service; do
  # The header tells how to install by hand, which the package does. The rest names places below /usr/local.
  sed -e '/^\[Unit\]/,$!d' -e 's,/usr/local/bin/surveil,/usr/bin/surveil,' \
    -e 's,/usr/local/share/doc/,/usr/share/doc/,' "$unit" > "$tree/usr/lib/systemd/system/$(basename "$unit")"
done
install -m 0644 "$top"/README.md "$top"/docs/*.md "$here/debian/copyright" "$share/doc/surveil/"
gzip -9n "$share/doc/surveil/changelog.md"

install -m 0755 "$here"/debian/{postinst,prerm,postrm} "$tree/DEBIAN/"
# A program that `cargo dist` made needs no library; any other one needs the C library of its machine.
depends=
if ldd "$program" 2>/dev/null | grep -q 'libc\.so'; then
  depends="Depends: libc6 (>= $(ldd --version | head -n 1 | grep -oE '[0-9.]+$')), libgcc-s1"
fi
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
  -e "s/@SIZE@/$(du -sk --apparent-size "$tree/usr" | cut -f 1)/" -e "s/@DEPENDS@/$depends/" -e '/^$/d' \
  "$here/debian/control" > "$tree/DEBIAN/control"

mkdir -p "$directory"
dpkg-deb --root-owner-group --build "$tree" "$directory/$name.deb" >&2
echo "$directory/$name.deb"
