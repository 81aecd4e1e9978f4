# Prints the C file that holds the Lua half: half.sh bindings/lua/lubdub/NAME.lua ... (lhalf.h)
set -eu
echo '#include "lhalf.h"'
for f in "$@"; do
  name=$(basename "$f" .lua)
  echo "static const unsigned char text_$name[] = {"
  od -An -v -tu1 "$f" | sed 's/\([0-9][0-9]*\)/\1,/g'
  echo '0};'
done
echo 'const lhalf lub_half[] = {'
for f in "$@"; do
  name=$(basename "$f" .lua)
  echo "  {\"lubdub.$name\", text_$name, sizeof text_$name - 1},"
done
echo '  {0, 0, 0}};'
i=0
for f in "$@"; do
  echo "int luaopen_lubdub_$(basename "$f" .lua)(lua_State *L) { return lub_load_half(L, lub_half + $i); }"
  i=$((i + 1))
done
