#!/bin/sh
# Runs every suite on the build in $B and closes with one count. Lua specs run in a stock lua5.4, which
# cannot load a sanitized module; a sanitizer build runs the C tests and the stress script.
set -u
passed=0 failed=0
count() { # the last "N passed, N failed" of a suite's output; a suite without one has failed
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1)
  if [ -z "$line" ]; then
    failed=$((failed + 1))
    cat "$1"
    return
  fi
  p=${line%% *}
  f=$(echo "$line" | sed 's/.*, \([0-9]*\) failed/\1/')
  passed=$((passed + p))
  failed=$((failed + f))
  [ "$f" = 0 ] || cat "$1"
}
suite() {
  name=$1
  shift
  echo "== $name"
  "$@" >"$out" 2>&1
  code=$?
  count "$out"
  if [ $code != 0 ] && [ "$f" = 0 ]; then
    echo "$name: exit $code"
    cat "$out"
    failed=$((failed + 1))
  fi
}
out=$(mktemp)
f=0
suite "core" timeout 300 "$B/engine_test"
if [ "${SAN:-}" != thread ]; then
  for n in 1 2 8; do
    suite "stress, $n carriers" env LUBDUB_CARRIERS=$n timeout 300 "$B/lubdub" run spec/stress/stress.lua
  done
fi
if [ -z "${SAN:-}" ]; then
  if command -v valgrind >/dev/null; then
    suite "core under valgrind" timeout 600 valgrind -q --error-exitcode=9 --leak-check=full "$B/engine_test"
  fi
  echo "== specs"
  busted=$(command -v busted)
  LUA_CPATH="$PWD/$B/?.so;;" LUBDUB="$PWD/$B/lubdub" timeout 600 "$busted" >"$out" 2>&1
  code=$?
  cat "$out"
  set -- $(sed -n 's/^.*\([0-9][0-9]*\) success[a-z]* \/ \([0-9]*\) failure[s]* \/ \([0-9]*\) error.*/\1 \2 \3/p' "$out" | tail -n 1)
  full=$(sed -n 's/\x1b\[[0-9;]*m//g; s/^\([0-9][0-9]*\) success.*/\1/p' "$out" | tail -n 1)
  passed=$((passed + ${full:-0}))
  bad=$((${2:-0} + ${3:-0}))
  [ $code = 0 ] || [ $bad -gt 0 ] || bad=1
  [ -n "$full" ] || bad=$((bad + 1))
  failed=$((failed + bad))
fi
rm -f "$out"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
