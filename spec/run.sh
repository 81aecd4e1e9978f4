#!/bin/sh
# Runs every suite on the build in $B; the last line counts over all of them. Arguments are parts of suites' names:
# only those run. A suite says `N passed, N failed`, or is a busted spec; one that says nothing, crashes or does
# not end has failed. What failed is heard at once and again at the end. With SAN, Lua specs run in a Lua that was
# built with the sanitizer.
set -u
B=${B:-build} SAN=${SAN:-}
export B SAN
LIMIT=${LIMIT:-120}
[ -z "$SAN" ] || LIMIT=$((LIMIT * 3)) # all is slower with it
LUA_PATH="$PWD/$B/lua/?.lua;$PWD/$B/lua/?/init.lua;;"
LUA_CPATH="$PWD/$B/?.so;;"
LUBDUB="$PWD/$B/lubdub"
export LUA_PATH LUA_CPATH LUBDUB
unset LUA_INIT LUA_PATH_5_4 LUA_CPATH_5_4 LUA_INIT_5_4
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_stack_use_after_return=0:allocator_may_return_null=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-detect_deadlocks=0:allocator_may_return_null=1:atexit_sleep_ms=0}"

# ThreadSanitizer does not start where the kernel spreads addresses too widely
calm=
[ "$SAN" != thread ] || ! setarch "$(uname -m)" -R true 2>/dev/null || calm="setarch $(uname -m) -R"

passed=0 failed=0 suites=0
out=$(mktemp) again=$(mktemp)
trap 'rm -f "$out" "$again"' EXIT
trap 'exit 130' INT TERM

counts() { # sets p and f from the output of a suite: its own line, or busted's summary
  set -- $(sed 's/\x1b\[[0-9;]*m//g' "$out" | sed -n \
    -e 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed.*/\1 \2/p' \
    -e 's,^\([0-9][0-9]*\) success[a-z]* / \([0-9][0-9]*\) failure[s]* / \([0-9][0-9]*\) error.*,\1 \2 \3,p' | tail -n 1)
  p=${1:-} f=$((${2:-0} + ${3:-0}))
}

suite() { # name, command
  name=$1
  shift
  if [ -n "$only" ]; then
    for part in $only; do
      case $name in *"$part"*) part= && break ;; esac
    done
    [ -z "$part" ] || return 0
  fi
  suites=$((suites + 1))
  timeout -k 5 "$LIMIT" $calm "$@" >"$out" 2>&1 </dev/null
  code=$?
  counts
  why=
  case $code in
    0) ;;
    124 | 137) why="not over after $LIMIT s" ;;
    *) why="exit $code" ;;
  esac
  if [ -z "$p" ]; then
    p=0 why="${why:+$why, }no count"
  elif [ $((p + f)) = 0 ]; then
    why="${why:+$why, }no test"
  fi
  # an exit code that no counted failure explains is a failure of its own
  [ -z "$why" ] || [ $f -gt 0 ] || f=1
  passed=$((passed + p)) failed=$((failed + f))
  if [ $f = 0 ]; then
    printf '%-46s %5d passed\n' "$name" "$p"
    return
  fi
  {
    cat "$out"
    printf '%-46s %5d passed, %d failed%s\n' "$name" "$p" "$f" "${why:+ ($why)}"
    echo "  to run it alone: make test${SAN:+ SAN=$SAN} SUITE='$name'"
  } | tee -a "$again"
}

each() { # the files that match the patterns
  for file in "$@"; do [ ! -e "$file" ] || echo "$file"; done
}

stem() { # spec/core/chan_test.c -> core/chan_test
  stem=${1#spec/}
  stem=${stem%.*}
}

only="$*"
lua=
for l in "${LUA:-lua5.4}" lua5.4 lua54 lua; do
  [ -n "$lua" ] || ! "$l" -e 'assert(_VERSION == "Lua 5.4")' 2>/dev/null || lua=$l
done
[ -z "$SAN" ] || lua=$PWD/$B/lua5.4
LUA=$lua
export LUA

have_lua=yes
if [ -n "$SAN" ] && [ ! -e "$lua" ]; then
  have_lua=
  echo "no source of Lua 5.4, so no Lua with the $SAN sanitizer: only the C suites of the core run"
fi

for file in $(each spec/core/*_test.c); do
  stem "$file"
  suite "$stem" "$B/tests/$stem"
done
if [ -n "$have_lua" ]; then
  for file in $(each spec/bindings/*_test.c spec/host/*.c); do
    stem "$file"
    suite "$stem" "$B/tests/$stem"
  done
  for file in $(each spec/bindings/*_spec.lua spec/scripts/*_spec.lua spec/examples/*_spec.lua); do
    stem "$file"
    suite "$stem" "$lua" spec/build/busted.lua --ignore-lua -o plainTerminal "$file"
  done
  for file in $(each spec/stress/*.lua); do
    stem "$file"
    for n in 1 2 8; do
      suite "$stem:$n-carriers" env LUBDUB_CARRIERS=$n "$B/lubdub" run "$file"
    done
  done
fi
if [ -z "$SAN" ]; then
  for file in $(each spec/build/*_test.sh); do
    stem "$file"
    suite "$stem" sh "$file"
  done
  if command -v valgrind >/dev/null; then
    grind="valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --fair-sched=yes"
    for file in $(each spec/core/*_test.c); do
      stem "$file"
      suite "valgrind:$stem" $grind "$B/tests/$stem"
    done
    suite "valgrind:lubdub" $grind "$B/lubdub" run spec/build/small.lua
  else
    echo "no valgrind: its suites are left out"
  fi
fi
[ ! -s "$again" ] || { echo && echo "What failed:" && cat "$again"; }
[ $suites -gt 0 ] || { echo "no suite is named '$only'" && failed=1; }
echo "$passed passed, $failed failed"
[ $failed = 0 ]
