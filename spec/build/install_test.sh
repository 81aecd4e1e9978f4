#!/bin/sh
# What make install puts there works from there, and uninstall takes all of it away. Run by spec/run.sh, or as
# `sh spec/build/install_test.sh` at the top of the tree.
set -u
MAKE=${MAKE:-make} CC=${CC:-cc} PKG_CONFIG=${PKG_CONFIG:-pkg-config} LUA=${LUA:-lua5.4}
unset MAKEFLAGS MFLAGS MAKELEVEL LUA_PATH LUA_CPATH LUA_PATH_5_4 LUA_CPATH_5_4
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
check() { # sentence, command
  sentence=$1
  shift
  if "$@" >"$tmp/log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $sentence: $*"
    cat "$tmp/log"
  fi
}
says() { # expected output, command
  expected=$1
  shift
  got=$("$@" 2>&1) && [ "$got" = "$expected" ] || { echo "got: $got" && false; }
}

root=$tmp/root prefix=/opt/lub
at=$root$prefix
check "installs under DESTDIR" $MAKE install PREFIX=$prefix DESTDIR="$root"
check "installs again over itself" $MAKE install PREFIX=$prefix DESTDIR="$root"
for f in bin/lubdub include/lubdub.h lib/liblubdub.a lib/liblubdub.so lib/liblubdub-lua.a lib/liblubdub-lua.so \
  lib/lua/5.4/lubdub.so lib/pkgconfig/lubdub.pc lib/pkgconfig/lubdub-lua.pc; do
  check "has $f" test -e "$at/$f"
done

cat >"$tmp/core.c" <<'END'
#include <lubdub.h>
#include <stdio.h>
int main(void) {
  printf("%s\n", lub_strerror(LUB_CLOSED));
  return 0;
}
END
cat >"$tmp/host.c" <<'END'
#include <lauxlib.h>
#include <lubdub.h>
#include <lualib.h>
int luaopen_lubdub(lua_State *L);
int main(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "lubdub", luaopen_lubdub, 0);
  lua_setglobal(L, "lub");
  int failed = luaL_dostring(L, "local c = lub.chan(1) c:send(7) print(c:recv())");
  if (failed) puts(lua_tostring(L, -1));
  lua_close(L);
  return failed;
}
END
sed -i '1i #include <stdio.h>' "$tmp/host.c"
cat >"$tmp/embed.c" <<'END'
#include <lubdub_lua.h>
int main(void) {
  lub_engine *e;
  lub_chan *work, *results;
  lub_worker *w;
  if (lub_lua_engine_open(NULL, &e)) return 1;
  if (lub_chan_open(e, 8, "work", &work) || lub_chan_open(e, 8, "results", &results)) return 1;
  lub_value args[] = {lub_of_chan(work), lub_of_chan(results)}, v = lub_int(3);
  lub_script s = {.text = "local work, results = ... for n in work do results:send(n * n) end", .args = args, .nargs = 2};
  if (lub_script_start(e, &s, &w, NULL)) return 1;
  if (lub_chan_send(work, &v, 10) || lub_chan_recv(results, &v, 10)) return 1;
  printf("%d\n", (int)v.as.i);
  for (int i = 0; i < 2; i++) lub_value_drop(&args[i]);
  lub_chan_drop(work);
  lub_chan_drop(results);
  lub_worker_drop(w);
  return lub_engine_close(e);
}
END
cat >"$tmp/script.lua" <<'END'
local lub = require "lubdub"
local ch = lub.chan(0)
lub.go(function() ch:send("hello") end)
print(ch:recv())
END
# the .pc files name the place without DESTDIR
check "the .pc files name the prefix" grep -q "^prefix=$prefix\$" "$at/lib/pkgconfig/lubdub.pc" "$at/lib/pkgconfig/lubdub-lua.pc"
mkdir "$tmp/pc"
for p in lubdub lubdub-lua; do sed "s,^prefix=.*,prefix=$at," "$at/lib/pkgconfig/$p.pc" >"$tmp/pc/$p.pc"; done
export PKG_CONFIG_PATH="$tmp/pc"
version=$(sed -n 's/^#define LUB_VERSION "\(.*\)"/\1/p' core/lubdub.h)
check "pkg-config knows the version" says "$version" $PKG_CONFIG --modversion lubdub
check "pkg-config knows the version with Lua" says "$version" $PKG_CONFIG --modversion lubdub-lua
check "links the shared core" $CC "$tmp/core.c" -o "$tmp/shared" $($PKG_CONFIG --cflags --libs lubdub)
check "runs with the shared core" says closed env LD_LIBRARY_PATH="$at/lib" "$tmp/shared"
check "needs the shared core by its SONAME" sh -c "LD_LIBRARY_PATH='$at/lib' ldd '$tmp/shared' | grep 'liblubdub\.so\.[0-9]'"
check "links the static core" $CC "$tmp/core.c" -o "$tmp/static" $($PKG_CONFIG --cflags lubdub) \
  $($PKG_CONFIG --static --libs lubdub | sed 's/-llubdub/-Wl,-Bstatic -llubdub -Wl,-Bdynamic/g')
check "runs with the static core" says closed "$tmp/static"
lua_pc=$(sed -n 's/^Requires.private: //p' "$at/lib/pkgconfig/lubdub-lua.pc")
lua_libs=$($PKG_CONFIG --libs "$lua_pc")
check "links a host with Lua" $CC "$tmp/host.c" -o "$tmp/host" $($PKG_CONFIG --cflags --libs lubdub-lua) $lua_libs
check "runs the host" says 7 env LD_LIBRARY_PATH="$at/lib" "$tmp/host"
# it calls no Lua itself: the shared library brings what it needs
check "links a host of scripts" $CC "$tmp/embed.c" -o "$tmp/embed" $($PKG_CONFIG --cflags --libs lubdub-lua)
check "runs a host of scripts" says 9 env LD_LIBRARY_PATH="$at/lib" "$tmp/embed"
check "links a static host with Lua" $CC -Wl,-E "$tmp/host.c" -o "$tmp/hosts" $($PKG_CONFIG --cflags lubdub-lua) \
  $($PKG_CONFIG --static --libs lubdub-lua | sed 's/-llubdub-lua/-Wl,-Bstatic -llubdub-lua -Wl,-Bdynamic/g')
check "runs the static host" says 7 "$tmp/hosts"
if command -v nm >/dev/null; then
  for lib in lubdub lubdub-lua; do
    check "lib$lib.so shows its own names only" sh -c \
      "! nm -D --defined-only '$at/lib/lib$lib.so' | grep -v ' [A-Z] \(lub_\|luaopen_lubdub\)'"
  done
fi

check "the command runs a script" says hello "$at/bin/lubdub" run "$tmp/script.lua"
check "a stock Lua runs it with the module" says hello env LUA_PATH="$at/share/lua/5.4/?.lua;;" \
  LUA_CPATH="$at/lib/lua/5.4/?.so" $LUA "$tmp/script.lua"
find scripts -name '*.lua' ! -path 'scripts/examples/*' >"$tmp/scripts"
while IFS= read -r f; do check "has $f" cmp "$f" "$at/share/lubdub/$f"; done <"$tmp/scripts"
check "leaves the examples out" test ! -e "$at/share/lubdub/scripts/examples"

echo mine >"$at/lib/other"
check "uninstalls" $MAKE uninstall PREFIX=$prefix DESTDIR="$root"
check "leaves what is not its own, and nothing else" says "$at/lib/other" find "$root" ! -type d
rm -rf "$root"
check "installs once more" $MAKE install PREFIX=$prefix DESTDIR="$root"
check "uninstalls once more" $MAKE uninstall PREFIX=$prefix DESTDIR="$root"
check "leaves nothing" says "" find "$root" -mindepth 1

# the build itself, on a copy
copy=$tmp/copy
mkdir "$copy"
cp -R Makefile core bindings scripts spec "$copy"
cd "$copy" || exit 1

for t in all demo test bench deps clean help lint install uninstall; do
  check "make help names $t" sh -c "$MAKE help | grep -q '^  make $t '"
done
check "builds" $MAKE CFLAGS=-O2
check "is quiet" says "" $MAKE CFLAGS=-O2
stamp() { ls -l --time-style=full-iso build/liblubdub.so build/lubdub 2>/dev/null || stat build/lubdub; }
before=$(stamp)
check "builds nothing twice" says "$before" stamp
check "measures" sh -c "$MAKE bench CFLAGS=-O2 BENCH='--quick --repeats 1 select_default' | grep -q 'select with default'"
echo '/* */' >>core/lubdub.h
touch -d '+2 seconds' core/lubdub.h 2>/dev/null || touch core/lubdub.h
$MAKE CFLAGS=-O2 >"$tmp/log" 2>&1
check "a changed header rebuilds" test "$before" != "$(stamp)"
touch core/lubdub.h
$MAKE CFLAGS=-O2 >"$tmp/log" 2>&1
before=$(stamp)
$MAKE CFLAGS="-O2 -g" >"$tmp/log" 2>&1
check "changed flags rebuild" test "$before" != "$(stamp)"
check "refuses an unknown sanitizer" sh -c "! $MAKE SAN=nonsense"
check "cleans" $MAKE clean
check "leaves no build" sh -c "! ls -d build*"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
