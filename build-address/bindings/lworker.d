build-address/bindings/lworker.o: bindings/lworker.c bindings/llub.h \
 /usr/include/lua5.4/lauxlib.h /usr/include/lua5.4/luaconf.h \
 /usr/include/lua5.4/lua.h /usr/include/lua5.4/lua.h \
 /usr/include/lua5.4/lualib.h core/engine.h core/random.h core/worker.h \
 core/waiter.h core/list.h core/timer.h core/base.h core/lubdub.h \
 core/value.h core/random.h core/select.h core/chan.h core/tick.h
bindings/llub.h:
/usr/include/lua5.4/lauxlib.h:
/usr/include/lua5.4/luaconf.h:
/usr/include/lua5.4/lua.h:
/usr/include/lua5.4/lua.h:
/usr/include/lua5.4/lualib.h:
core/engine.h:
core/random.h:
core/worker.h:
core/waiter.h:
core/list.h:
core/timer.h:
core/base.h:
core/lubdub.h:
core/value.h:
core/random.h:
core/select.h:
core/chan.h:
core/tick.h:
