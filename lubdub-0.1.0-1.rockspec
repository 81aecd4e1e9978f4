package = "lubdub"
version = "0.1.0-1"
source = { url = "git+file://." }
description = { summary = "Lua concurrency that cannot hang in silence", license = "MIT" }
dependencies = { "lua >= 5.4, < 5.5" }
build = {
  type = "make",
  build_target = "build/lubdub.so",
  build_variables = { CFLAGS = "$(CFLAGS)", LUA_INC = "-I$(LUA_INCDIR)" },
  install_target = "install-module",
  install_variables = { CFLAGS = "$(CFLAGS)", LUA_INC = "-I$(LUA_INCDIR)", CMOD = "$(LIBDIR)" },
}
