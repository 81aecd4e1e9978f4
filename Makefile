# lubdub: `make help` lists the targets.
.DELETE_ON_ERROR:
.SUFFIXES:
CC         ?= cc
CFLAGS     ?= -O3 -g
PREFIX     ?= /usr/local
LUA        ?= lua5.4
PKG_CONFIG ?= pkg-config
B          := build$(if $(SAN),-$(SAN))
V          := $(if $(VERBOSE),,@)

# every CPU, unless the caller said how many (a -j on the command line wins over this one)
ifeq ($(MAKELEVEL)$(filter -j% --jobs%,$(MAKEFLAGS)),0)
MAKEFLAGS  += -j$(shell nproc 2>/dev/null || echo 2)
endif
# `make clean all` means one after the other
ifneq ($(and $(filter clean uninstall,$(MAKECMDGOALS)),$(word 2,$(MAKECMDGOALS))),)
.NOTPARALLEL:
endif

SAN_address := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SAN_thread  := -fsanitize=thread
# LeakSanitizer stumbles over the thread-local variables of a module that was loaded later (glibc 2.36, gcc 12)
ifneq ($(SAN),)
FLAGS_SAN   := -ftls-model=initial-exec
endif
ifneq ($(SAN),)
ifeq ($(SAN_$(SAN)),)
$(error SAN is address or thread, not '$(SAN)')
endif
endif

WARN    := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
FLAGS    = $(WARN) -fPIC -Icore $(CPPFLAGS) $(CFLAGS) $(FLAGS_SAN) $(SAN_$(SAN))
LINK     = $(CC) $(CFLAGS) $(SAN_$(SAN)) $(LDFLAGS)
LIBS    := -pthread -lm
DEPEND   = -MMD -MP
VERSION := $(shell sed -n 's/^\#define LUB_VERSION "\(.*\)"/\1/p' core/lubdub.h)
SONAME   = lib$(1).so.$(firstword $(subst ., ,$(VERSION)))

# ---- Lua: the system's, or, since no stock lua5.4 can load a sanitized module, one built with the sanitizer ----
LUA_SRC := build/lua-src/src
ifeq ($(SAN),)
LUA_PC  := $(or $(LUA_PC),$(shell for p in lua5.4 lua-5.4 lua54 lua; do \
  $(PKG_CONFIG) --exists "$$p >= 5.4 $$p < 5.5" 2>/dev/null && echo $$p && break; done))
LUA_INC ?= $(shell $(PKG_CONFIG) --cflags "$(LUA_PC) >= 5.4 $(LUA_PC) < 5.5" 2>/dev/null)
LUA_LIBS ?= $(shell $(PKG_CONFIG) --libs "$(LUA_PC) >= 5.4 $(LUA_PC) < 5.5" 2>/dev/null)
HAVE_LUA := $(LUA_PC)$(LUA_INC)$(LUA_LIBS)
# The command takes in a static Lua where one lies beside the shared (LUA_A= : it does not): its calls are direct then.
LUA_DIR := $(if $(filter file,$(origin LUA_LIBS)),$(shell $(PKG_CONFIG) --variable=libdir $(LUA_PC) 2>/dev/null))
LUA_A   ?= $(if $(LUA_DIR),$(wildcard $(patsubst -l%,$(LUA_DIR)/lib%.a,$(filter -llua%,$(LUA_LIBS)))))
else
LUA_INC := -I$(LUA_SRC)
LUA_LIBS := -ldl
HAVE_LUA := $(wildcard $(LUA_SRC)/lua.h)
LUA_OBJ := $(patsubst %,$(B)/lua-$(SAN)/l%.o,api auxlib baselib code corolib ctype dblib debug do dump func gc init \
  iolib lex mathlib mem oadlib object opcodes oslib parser state string strlib table tablib tm undump utf8lib vm zio)
# _longjmp, and the __longjmp_chk of a fortified longjmp, leave without telling ThreadSanitizer, which dies after
# some 100,000 of them; ISO longjmp it knows. The rest stays as distributions build it.
PROGRAMS_SAN = $(B)/lua5.4
LUA_FLAGS = -std=gnu11 -O1 -g -DLUA_USE_LINUX -DLUA_COMPAT_5_3 -U_FORTIFY_SOURCE -D'LUAI_THROW(L,c)=longjmp((c)->b,1)' \
  -D'LUAI_TRY(L,c,a)=if (setjmp((c)->b) == 0) { a }' -Dluai_jmpbuf=jmp_buf $(SAN_$(SAN))
endif

# ---- what there is to build ----
object   = $(patsubst %.c,$(B)/%.o,$(1))
CORE    := $(call object,$(wildcard core/*.c))
COMMAND := $(call object,bindings/main.c bindings/simulate.c bindings/chrome.c)
BINDING := $(filter-out $(COMMAND),$(call object,$(wildcard bindings/*.c) bindings/half.c))
HEADERS := core/lubdub.h $(wildcard bindings/lubdub_lua.h)
MODULES := $(sort $(wildcard bindings/lua/lubdub/*.lua))
SCRIPTS := $(shell find scripts -name '*.lua' ! -path 'scripts/examples/*')
program  = $(patsubst spec/%.c,$(B)/tests/%,$(wildcard $(1)))
CORETEST := $(call program,spec/core/*_test.c)
LUATEST := $(call program,spec/bindings/*_test.c spec/host/*.c)
BENCHES := $(patsubst spec/%.c,$(B)/%,$(wildcard spec/bench/*.c)) $(B)/bench/peers/c/bench $(B)/bench/peers/bare/bare

LIBRARIES := $(B)/liblubdub.a $(B)/liblubdub.so
PROGRAMS := $(LIBRARIES) $(B)/lubdub $(B)/lubdub.so $(B)/liblubdub-lua.a $(B)/liblubdub-lua.so $(PROGRAMS_SAN)
ifneq ($(SAN),)
ifeq ($(HAVE_LUA),)
PROGRAMS := $(LIBRARIES)
LUATEST :=
endif
endif

all: $(PROGRAMS) ## build the command, the libraries and the Lua module into build/ (SAN=address|thread: with it)

demo: deps ## install what is missing, build, run the seed's heartbeat
	$(V)$(MAKE) --no-print-directory all
	$(V)$(B)/lubdub run scripts/examples/interval.lua

test: deps ## install what is missing, build, run every suite (SAN=address|thread; SUITE=part of a name)
	$(V)test -z "$(SAN)" || sh spec/build/lua.sh || :
	$(V)$(MAKE) --no-print-directory all tests
	$(V)B=$(B) SAN=$(SAN) LUA="$(LUA)" CC="$(CC)" CC_SAN="$(CC) $(SAN_$(SAN))" MAKE="$(MAKE)" \
	  LINK_LUA="$(LUA_OBJ) $(LUA_LIBS) $(LIBS)" \
	  PKG_CONFIG="$(PKG_CONFIG)" sh spec/run.sh $(SUITE)

tests: $(CORETEST) $(LUATEST) ## build the C suites, run nothing
	@:

bench: deps ## install what is missing, build, measure; tables and a chart into build/bench (BENCH='options, workloads')
	$(V)$(MAKE) --no-print-directory all benches
	$(V)$(B)/lubdub run spec/bench/run.lua --out $(B)/bench $(BENCH)

benches: $(BENCHES)
	@:

# counted by callgrind; what was built by other tools than those recorded is judged less strictly
COUNT = CC="$(CC)" CFLAGS="$(CFLAGS)" LUBDUB=$(B)/lubdub $(B)/lubdub run spec/bench/check.lua

bench-check: deps ## does a basic operation take 10 % more instructions than recorded?
	$(V)$(MAKE) --no-print-directory counting
	$(V)$(COUNT)

bench-baseline: deps ## count those instructions and record them in spec/bench/baseline.json
	$(V)$(MAKE) --no-print-directory counting
	$(V)$(COUNT) --record

counting: all $(B)/same_time.so
	@:

soak: all ## 10,000 healthy hearts beside hogs and stops: none may be missed (SECONDS=600)
	$(V)$(B)/lubdub run spec/bench/soak.lua $(SECONDS)

deps: ## install what building and testing need, or name it (LINT=1: what lint needs)
	$(V)B=$(B) SAN=$(SAN) CC="$(CC)" LUA="$(LUA)" LUA_PC="$(LUA_PC)" PKG_CONFIG="$(PKG_CONFIG)" sh spec/deps.sh

clean: ## remove what was built
	$(V)rm -rf build build-address build-thread

help: ## this list
	$(V)sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

# ---- lint ----
C_FILES := $(wildcard core/*.[ch] bindings/*.[ch] spec/*/*.[ch] spec/bench/peers/*/*.[ch])
TIDY    := $(patsubst %,tidy-%,$(filter-out %.h,$(C_FILES)))

lint: ## luacheck, clang-format, cppcheck, clang-tidy; silent when all is well
	$(V)LINT=1 $(MAKE) --no-print-directory deps
	$(V)$(MAKE) --no-print-directory -k lint-lua lint-format lint-cppcheck $(TIDY)

format: ## lay out the C files as .clang-format says
	$(V)clang-format -i $(C_FILES)

check: ## test, then lint
	$(V)$(MAKE) --no-print-directory test
	$(V)$(MAKE) --no-print-directory lint

lint-lua:
	$(V)mkdir -p $(B)
	$(V)luacheck -q $(wildcard scripts spec bindings) >$(B)/luacheck.log || { cat $(B)/luacheck.log; exit 1; }

lint-format:
	$(V)clang-format --dry-run -Werror $(C_FILES)

# cppcheck does not know _Noreturn, and takes a realloc that is called through a pointer for a leak
lint-cppcheck:
	$(V)cppcheck -q --std=c11 --error-exitcode=1 --enable=warning,portability --inline-suppr \
	  --suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck --suppress='memleak:core/*' \
	  -D_GNU_SOURCE -Icore -Ibindings core bindings

$(TIDY): tidy-%:
	$(V)mkdir -p $(B)
	$(V)clang-tidy --quiet $* -- -std=c11 -D_GNU_SOURCE -Icore -Ibindings -Ispec/core $(LUA_INC) \
	  $(if $(filter core/% spec/core/%,$*),,-include spec/build/tidy.h) 2>&1 | \
	  { grep -v 'warnings* generated\|^Suppressed\|^Use -header' || :; } | tee $(B)/$(subst /,_,$*).tidy; \
	  ! test -s $(B)/$(subst /,_,$*).tidy

# ---- install: what was put where is listed in share/lubdub/manifest, from which uninstall works ----
CMOD := $(PREFIX)/lib/lua/5.4

define PUT
to() { # directories that are made are listed, so that they can go again
  case $$1 in /|.|"") return 0;; esac
  [ -d "$$DESTDIR$$1" ] || { to "$$(dirname "$$1")"; mkdir "$$DESTDIR$$1"; echo "$$1/" >>"$$list"; }
}
put() { # mode, source, target
  to "$$(dirname "$$3")"
  rm -f "$$DESTDIR$$3"
  install -m "$$1" "$$2" "$$DESTDIR$$3"
  echo "$$3" >>"$$list"
}
link() { # to what, target
  ln -sf "$$1" "$$DESTDIR$$2"
  echo "$$2" >>"$$list"
}
library() { # name, soname
  put 644 $$B/lib$$1.a "$$PREFIX/lib/lib$$1.a"
  put 755 $$B/lib$$1.so "$$PREFIX/lib/lib$$1.so.$$VERSION"
  link lib$$1.so.$$VERSION "$$PREFIX/lib/$$2"
  link $$2 "$$PREFIX/lib/lib$$1.so"
}
package() { # name, description, requires, private requires
  { printf 'prefix=%s\nlibdir=$${prefix}/lib\nincludedir=$${prefix}/include\n\n' "$$PREFIX"
    printf 'Name: %s\nDescription: %s\nVersion: %s\n' "$$1" "$$2" "$$VERSION"
    [ -z "$$3" ] || printf 'Requires.private: %s\n' "$$3"
    printf 'Libs: -L$${libdir} -l%s -pthread\nLibs.private: -lm\nCflags: -I$${includedir}\n' "$$1"
  } >"$$list.pc"
  put 644 "$$list.pc" "$$PREFIX/lib/pkgconfig/$$1.pc"
  rm -f "$$list.pc"
}
list=$$(mktemp)
trap 'rm -f "$$list" "$$list.pc"' EXIT
endef
export PUT
INSTALL = B=$(B) DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" CMOD="$(CMOD)" \
  VERSION=$(VERSION) sh -euc

install: all ## install under PREFIX (default /usr/local); DESTDIR is put before it
	$(V)$(MAKE) --no-print-directory uninstall
	$(V)$(INSTALL) 'eval "$$PUT"; mkdir -p "$$DESTDIR/"; \
	  put 755 $(B)/lubdub "$$PREFIX/bin/lubdub"; \
	  for h in $(HEADERS); do put 644 $$h "$$PREFIX/include/$${h##*/}"; done; \
	  library lubdub $(call SONAME,lubdub); library lubdub-lua $(call SONAME,lubdub-lua); \
	  package lubdub "heartbeat engine" ""; \
	  package lubdub-lua "heartbeat engine, with its Lua 5.4 workers" "$(LUA_PC)"; \
	  put 755 $(B)/lubdub.so "$(CMOD)/lubdub.so"; \
	  for f in $(SCRIPTS); do put 644 $$f "$$PREFIX/share/lubdub/$$f"; done; \
	  to "$$PREFIX/share/lubdub"; echo "$$PREFIX/share/lubdub/manifest" >>"$$list"; \
	  install -m 644 "$$list" "$$DESTDIR$$PREFIX/share/lubdub/manifest"'

install-module: $(B)/lubdub.so ## install the Lua module alone (CMOD=: where), as LuaRocks does
	$(V)$(INSTALL) 'eval "$$PUT"; put 755 $(B)/lubdub.so "$(CMOD)/lubdub.so"'

uninstall: ## remove exactly what install put there
	$(V)list="$(DESTDIR)$(PREFIX)/share/lubdub/manifest"; [ ! -f "$$list" ] || { \
	  files=$$(cat "$$list"); printf '%s\n' "$$files" | while IFS= read -r f; do \
	    case $$f in */) ;; *) rm -f "$(DESTDIR)$$f" ;; esac; done; \
	  printf '%s\n' "$$files" | grep '/$$' | sort -r | while IFS= read -r d; do \
	    rmdir "$(DESTDIR)$$d" 2>/dev/null || :; done; }

# ---- rules ----
# Two records that only change when what they say does: how things are compiled, and of what they are made
# (else a source that is removed would stay in the libraries).
, := ,
quote = '$(subst ','\'',$(1))'
record = $(V)mkdir -p $(@D); printf '%s\n' $(call quote,$(1)) | cmp -s - $@ || printf '%s\n' $(call quote,$(1)) >$@
$(B)/.flags: FORCE
	$(call record,$(CC) $(FLAGS) $(LDFLAGS) $(LUA_INC) $(LUA_LIBS))
$(B)/.parts: FORCE
	$(call record,$(CORE) $(BINDING) $(MODULES) $(LUA_OBJ) $(LUA_A) $(VERSION))

$(B)/core/%.o: core/%.c $(B)/.flags
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) $(DEPEND) -c $< -o $@

$(B)/bindings/%.o: bindings/%.c $(B)/.flags | lua
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) -Ibindings $(LUA_INC) $(DEPEND) -c $< -o $@

$(B)/lua-$(SAN)/%.o: $(LUA_SRC)/%.c $(B)/.flags
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(LUA_FLAGS) -c $< -o $@

# ThreadSanitizer holds signals back until the thread comes to an atomic operation. The engine preempts by a
# signal, so an empty loop in Lua would never be; here each jump and each call (a tail call does not jump) has one.
ATOMIC = (void)__atomic_load_n(\&(int){0}, __ATOMIC_RELAXED)
$(B)/lua-thread/lvm.o: $(LUA_SRC)/lvm.c $(B)/.flags Makefile
	$(V)mkdir -p $(@D)
	$(V)sed -e '/define updatetrap(ci)/s/(trap/($(ATOMIC), trap/' -e 's/^ *trap = L->hookmask;/$(ATOMIC);&/' $< | \
	  $(CC) $(LUA_FLAGS) -I$(LUA_SRC) -x c -c - -o $@

lua:
	$(if $(HAVE_LUA),,$(error Lua 5.4 is not known to $(PKG_CONFIG): `make deps` installs it, LUA_PC=name names it))
	@:

# The Lua half goes into the module, so that every worker finds it.
$(B)/bindings/half.c: bindings/half.sh $(MODULES) $(B)/.parts
	$(V)mkdir -p $(@D)
	$(V)sh bindings/half.sh $(MODULES) >$@

$(B)/bindings/half.o: $(B)/bindings/half.c $(B)/.flags | lua
	$(V)$(CC) $(FLAGS) -Ibindings $(LUA_INC) -c $< -o $@

$(B)/liblubdub.a: $(CORE) $(B)/.parts
	$(V)rm -f $@
	$(V)ar rcs $@ $(CORE)

$(B)/liblubdub-lua.a: $(CORE) $(BINDING) $(B)/.parts
	$(V)rm -f $@
	$(V)ar rcs $@ $(CORE) $(BINDING)

# A shared library shows what its headers declare, and nothing else.
exports = { echo '{ global: '; cat $(1) | $(CC) -E -P -Icore -Ibindings $(LUA_INC) -x c - | grep -o 'lub_[a-z0-9_]* *(' | \
  tr '(' ';'; echo '$(2) local: *; };'; } >$@.map

$(B)/liblubdub.so: $(CORE) core/lubdub.h $(B)/.parts
	$(V)$(call exports,core/lubdub.h,)
	$(V)$(LINK) -shared -Wl,-soname,$(call SONAME,lubdub) -Wl,--version-script=$@.map $(CORE) -o $@ $(LIBS)
	$(V)ln -sf $(@F) $(B)/$(call SONAME,lubdub)

$(B)/liblubdub-lua.so: $(CORE) $(BINDING) $(HEADERS) $(B)/.parts
	$(V)$(call exports,$(HEADERS),luaopen_*;)
	$(V)$(LINK) -shared -Wl,-soname,$(call SONAME,lubdub-lua) -Wl,--version-script=$@.map \
	  $(CORE) $(BINDING) -o $@ $(LUA_LIBS) $(LIBS)
	$(V)ln -sf $(@F) $(B)/$(call SONAME,lubdub-lua)

# The module takes Lua from the program that loads it. It stays when Lua unloads it: a worker stuck in a C call returns
# to it later.
$(B)/lubdub.so: $(CORE) $(BINDING) $(B)/.parts
	$(V)echo '{ global: luaopen_*; local: *; };' >$@.map
	$(V)$(LINK) -shared -Wl,-z,nodelete -Wl,--version-script=$@.map $(CORE) $(BINDING) -o $@ $(LIBS)

# An interpreter that can load a sanitized module.
$(B)/lua5.4: $(B)/lua-$(SAN)/lua.o $(LUA_OBJ)
	$(V)$(LINK) -Wl,-E $^ -o $@ $(LUA_LIBS) $(LIBS)

# -E: C modules that a script loads find Lua in the command, the whole of it. Not every static Lua can be linked.
command = $(LINK) -Wl,-E $(CORE) $(BINDING) $(COMMAND) $(LUA_OBJ) -o $@ $(1) $(LIBS)
$(B)/lubdub: $(CORE) $(BINDING) $(COMMAND) $(LUA_OBJ) $(LUA_A) $(B)/.parts
	$(V)$(if $(LUA_A),$(call command,-Wl$(,)--whole-archive $(LUA_A) -Wl$(,)--no-whole-archive -ldl) 2>/dev/null ||) \
	  $(call command,$(LUA_LIBS))

$(B)/tests/core/%: spec/core/%.c $(B)/liblubdub.a
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) -Ispec/core $(DEPEND) -MF $@.d $< $(LDFLAGS) $(B)/liblubdub.a -o $@ $(LIBS)

$(B)/tests/%: spec/%.c $(B)/liblubdub-lua.a $(LUA_OBJ)
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) -Ibindings -Ispec/core $(LUA_INC) $(DEPEND) -MF $@.d $< $(LDFLAGS) -Wl,-E $(B)/liblubdub-lua.a \
	  $(LUA_OBJ) -o $@ $(LUA_LIBS) $(LIBS)

$(B)/bench/%: spec/bench/%.c $(B)/liblubdub.a
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) $(DEPEND) -MF $@.d $< $(LDFLAGS) $(B)/liblubdub.a -o $@ $(LIBS)

# A peer: nothing of the engine is in it.
$(B)/bench/peers/c/bench: $(wildcard spec/bench/peers/c/*.[ch]) $(B)/.flags
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) $(filter %.c,$^) $(LDFLAGS) -o $@ $(LIBS)

$(B)/bench/peers/bare/bare: $(wildcard spec/bench/peers/bare/*.[ch]) $(LUA_OBJ) $(LUA_A) $(B)/.flags
	$(V)mkdir -p $(@D)
	$(V)$(CC) $(FLAGS) $(LUA_INC) $(filter %.c,$^) $(LDFLAGS) -o $@ $(LUA_OBJ) $(or $(LUA_A),$(LUA_LIBS)) -ldl $(LIBS)

$(B)/same_time.so: spec/build/same_time.c $(B)/.flags
	$(V)$(LINK) $(WARN) -fPIC -shared $< -o $@

-include $(CORE:.o=.d) $(BINDING:.o=.d) $(COMMAND:.o=.d) $(patsubst %,%.d,$(CORETEST) $(LUATEST) $(BENCHES))
FORCE:
.PHONY: all demo test check format tests bench benches bench-check bench-baseline counting soak deps clean help lint \
  lint-lua lint-format lint-cppcheck $(TIDY) install install-module uninstall lua FORCE
