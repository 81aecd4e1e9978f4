#!/bin/sh
# Installs what building and testing need and the machine lacks, or names it and stops.
set -eu
missing=
need() { eval "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need 'command -v pkg-config' pkg-config
need 'pkg-config --exists lua5.4' liblua5.4-dev
need 'command -v lua5.4' lua5.4
need 'test -e /usr/bin/busted || command -v busted' lua-busted
if [ -n "${LINT:-}" ]; then
  need 'command -v luacheck' lua-check
  need 'command -v cppcheck' cppcheck
fi
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null; then
  as=
  [ "$(id -u)" = 0 ] || as=sudo
  if [ -z "$as" ] || command -v sudo >/dev/null; then
    echo "installing:$missing"
    log=$(mktemp)
    $as apt-get update >"$log" 2>&1 || true
    if $as env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >>"$log" 2>&1; then
      rm -f "$log"
      exit 0
    fi
    cat "$log" >&2
  fi
fi
cat >&2 <<END
lubdub needs:$missing
  Debian, Ubuntu:  apt-get install lua5.4 liblua5.4-dev lua-busted pkg-config
  Fedora:          dnf install lua lua-devel pkgconf luarocks && luarocks install busted
  Alpine:          apk add lua5.4 lua5.4-dev pkgconf luarocks5.4 && luarocks-5.4 install busted
  macOS:           brew install lua pkgconf luarocks && luarocks install busted
END
exit 1
