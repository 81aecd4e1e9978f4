# lubdub: `make help` lists the targets.
.DELETE_ON_ERROR:
CC      ?= cc
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
LUA     ?= lua5.4
LUA_PC  ?= lua5.4
B       := build$(if $(SAN),-$(SAN))
V       := $(if $(VERBOSE),,@)

SAN_address := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SAN_thread  := -fsanitize=thread
WARN    := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
LUA_INC  = $(shell pkg-config --cflags $(LUA_PC) 2>/dev/null)
LUA_LIBS = $(shell pkg-config --libs $(LUA_PC) 2>/dev/null)
FLAGS    = $(WARN) -fPIC -Icore -Ibindings $(CFLAGS) $(SAN_$(SAN)) -MMD -MP

CORE     := $(patsubst core/%.c,$(B)/core/%.o,$(wildcard core/*.c))
BINDING  := $(patsubst bindings/%.c,$(B)/bindings/%.o,$(filter-out bindings/main.c,$(wildcard bindings/*.c)))
PROGRAMS := $(B)/liblubdub.a $(B)/liblubdub.so $(B)/lubdub.so $(B)/lubdub

all: $(PROGRAMS) ## build the command, the core library and the Lua module

demo: deps ## install what is missing, build, run the seed's heartbeat
	$(V)$(MAKE) --no-print-directory all
	$(V)$(B)/lubdub run scripts/examples/interval.lua

test: deps ## install what is missing, build, run every suite (SAN=address|thread: under a sanitizer)
	$(V)$(MAKE) --no-print-directory all $(B)/engine_test
	$(V)B=$(B) SAN=$(SAN) sh spec/run.sh

# cppcheck does not know _Noreturn, and takes a realloc that is called through a pointer for a leak
lint: ## luacheck and cppcheck
	$(V)luacheck -q scripts spec
	$(V)cppcheck -q --std=c11 --error-exitcode=1 --enable=warning,portability --inline-suppr \
	  --suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck --suppress=memleak:core/engine.c \
	  -Icore -Ibindings core bindings

help: ## this list
	$(V)sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

clean: ## remove what was built
	$(V)rm -rf build build-address build-thread

deps:
	$(V)sh spec/deps.sh

install: all ## install under PREFIX (DESTDIR honoured)
	$(V)install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(DESTDIR)$(PREFIX)/lib/lua/5.4
	$(V)install $(B)/lubdub $(DESTDIR)$(PREFIX)/bin
	$(V)install -m 644 core/lubdub.h $(DESTDIR)$(PREFIX)/include
	$(V)install -m 644 $(B)/liblubdub.a $(B)/liblubdub.so $(DESTDIR)$(PREFIX)/lib
	$(V)install -m 644 $(B)/lubdub.so $(DESTDIR)$(PREFIX)/lib/lua/5.4
	$(V)printf 'Name: lubdub\nDescription: heartbeat engine\nVersion: 0.1.0\nLibs: -L%s/lib -llubdub -pthread\nCflags: -I%s/include\n' \
	  $(PREFIX) $(PREFIX) > $(DESTDIR)$(PREFIX)/lib/pkgconfig/lubdub.pc

uninstall: ## remove what install put there
	$(V)cd $(DESTDIR)$(PREFIX) && rm -f bin/lubdub include/lubdub.h lib/liblubdub.a lib/liblubdub.so \
	  lib/lua/5.4/lubdub.so lib/pkgconfig/lubdub.pc

$(B)/core/%.o: core/%.c
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) -c $< -o $@

$(B)/bindings/%.o: bindings/%.c
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) $(LUA_INC) -c $< -o $@

$(B)/liblubdub.a: $(CORE)
	$(V)rm -f $@
	$(V)ar rcs $@ $^

$(B)/liblubdub.so: $(CORE)
	$(V)$(CC) -shared $(CFLAGS) $(SAN_$(SAN)) $(LDFLAGS) $^ -o $@ -pthread -lm

$(B)/lubdub.so: $(CORE) $(BINDING)
	$(V)$(CC) -shared $(CFLAGS) $(SAN_$(SAN)) $(LDFLAGS) $^ -o $@ -pthread -lm

$(B)/lubdub: $(CORE) $(BINDING) $(B)/bindings/main.o
	$(V)$(CC) $(CFLAGS) $(SAN_$(SAN)) $(LDFLAGS) -Wl,-E $^ -o $@ $(LUA_LIBS) -pthread -lm

$(B)/engine_test: spec/core/engine_test.c $(B)/liblubdub.a
	$(V)$(CC) $(FLAGS) $(LDFLAGS) $^ -o $@ -pthread -lm

-include $(wildcard $(B)/*/*.d)
.PHONY: all demo test lint help clean deps install uninstall
