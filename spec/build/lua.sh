#!/bin/sh
# Puts the source of the distribution's Lua 5.4 into build/lua-src/src, for the sanitizer builds: a stock lua5.4
# cannot load a sanitized module, and its _longjmp is unknown to ThreadSanitizer. Needs no root and leaves the
# system's apt configuration alone: the deb-src entries live in a directory of their own.
set -eu
cd "$(dirname "$0")/../.."
dir=build/lua-src
[ ! -e $dir/src/lua.h ] || exit 0
command -v apt-get >/dev/null && command -v dpkg-source >/dev/null || {
  echo "no apt-get or dpkg-source: put the source of Lua 5.4 into $dir/src" >&2
  exit 1
}
rm -rf $dir
apt=$PWD/$dir/apt
mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/sources.list"
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  [ -f "$f" ] || continue
  case $f in
    *.sources) sed 's/^Types:.*/Types: deb-src/' "$f" >"$apt/parts/${f##*/}" ;;
    *) sed -n 's/^deb /deb-src /p' "$f" >>"$apt/sources.list" ;;
  esac
done
get() {
  apt-get -qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts" \
    -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o Acquire::Languages=none \
    -o APT::Sandbox::User="$(id -un)" -o Acquire::http::Timeout=20 -o Acquire::Retries=1 "$@"
}
# other repositories of the machine may have no sources, or not answer: what counts is whether Lua comes
get update >"$apt/log" 2>&1 || :
if (cd $dir && get source --download-only lua5.4) >>"$apt/log" 2>&1 &&
  dpkg-source --no-check -x $dir/*.dsc $dir/package >>"$apt/log" 2>&1; then
  mv $dir/package/src $dir/src
else
  cat "$apt/log" >&2
  echo "the source of Lua 5.4 cannot be fetched" >&2
  exit 1
fi
