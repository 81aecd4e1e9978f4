#!/bin/sh
# Installs what building and testing need and the machine lacks, or names it and stops. With LINT=1 what lint
# needs, with SAN=address|thread what the sanitizer builds need.
set -u
CC=${CC:-cc} LUA=${LUA:-lua5.4} PKG_CONFIG=${PKG_CONFIG:-pkg-config}
apt='' dnf='' apk='' brew='' rocks=''
need() { # check, then the package in apt, dnf, apk, brew; "rock:" before a name means LuaRocks has it
  eval "$1" >/dev/null 2>&1 && return
  apt="$apt $2"
  for p in "dnf $3" "apk $4" "brew $5"; do
    name=${p#* }
    case $name in
      rock:*) case " $rocks " in *" ${name#rock:} "*) ;; *) rocks="${rocks:+$rocks }${name#rock:}" ;; esac ;;
      ?*) eval "case \" \$${p%% *} \" in *\" $name \"*) ;; *) ${p%% *}=\"\$${p%% *} $name\" ;; esac" ;;
    esac
  done
}
lua_headers() {
  for p in ${LUA_PC:-lua5.4 lua-5.4 lua54 lua}; do
    $PKG_CONFIG --exists "$p >= 5.4 $p < 5.5" && return
  done
  return 1
}
interpreter() {
  for l in "$LUA" lua5.4 lua54 lua; do
    command -v "$l" && "$l" -e 'assert(_VERSION == "Lua 5.4")' && lua=$l && return
  done
  return 1
}
compiles() { echo "$1" | $CC $2 -x c - -o /dev/null; }

need "command -v $CC" gcc gcc gcc ''
need "compiles '#include <stdlib.h>
int main(void) { return 0; }' ''" libc6-dev glibc-devel musl-dev ''
need "command -v $PKG_CONFIG" pkg-config pkgconf pkgconf pkgconf
if [ -n "${LINT:-}" ]; then
  need 'command -v luacheck' lua-check rock:luacheck rock:luacheck rock:luacheck
  need 'command -v cppcheck' cppcheck cppcheck cppcheck cppcheck
  need 'command -v clang-format' clang-format clang-tools-extra clang-extra-tools clang-format
  need 'command -v clang-tidy' clang-tidy clang-tools-extra clang-extra-tools llvm
fi
need lua_headers liblua5.4-dev lua-devel lua5.4-dev lua
need interpreter lua5.4 lua lua5.4 lua
need "\"\${lua:-lua5.4}\" -e 'require \"busted.core\"'" lua-busted rock:busted rock:busted rock:busted
if [ -z "${SAN:-}${LINT:-}" ]; then
  need 'test "$(uname)" != Linux || command -v valgrind' valgrind valgrind valgrind ''
fi
if [ -n "${SAN:-}" ]; then
  need "compiles 'int main(void) { return 0; }' -fsanitize=$SAN" libgcc-12-dev "lib${SAN%address}san" '' ''
  if command -v apt-get >/dev/null; then need 'command -v dpkg-source' dpkg-dev '' '' ''; fi
fi
[ -n "$apt" ] || exit 0

if command -v apt-get >/dev/null; then
  as=
  if [ "$(id -u)" = 0 ] || { as='sudo -n' && $as true 2>/dev/null; }; then
    echo "installing:$apt"
    log=$(mktemp)
    $as apt-get update >"$log" 2>&1 || :
    if $as env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $apt >>"$log" 2>&1; then
      rm -f "$log"
      exit 0
    fi
    cat "$log" >&2
    rm -f "$log"
  fi
fi
{
  echo "lubdub lacks what is in these packages; install them and run make again:"
  echo "  Debian, Ubuntu:  apt-get install$apt"
  more=
  for r in $rocks; do more="$more && luarocks install $r"; done
  for p in "Fedora:          dnf|$dnf|luarocks" "Alpine:          apk|$apk|luarocks5.4" "macOS:           brew|$brew|luarocks"; do
    how=${p%%|*} names=${p#*|} rock=${p##*|}
    names=${names%|*}
    [ -z "$rocks" ] || names="$names $rock"
    verb=install
    case $how in *apk) verb=add ;; esac
    tail=$more
    case $how in *apk) tail=$(echo "$more" | sed 's/luarocks/luarocks-5.4/g') ;; esac
    [ -z "$names" ] || echo "  $how $verb$names$tail"
  done
} >&2
exit 1
