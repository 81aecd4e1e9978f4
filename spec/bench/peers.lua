-- Who is measured: the engine, the floor in plain Lua, and the peers that are installed.
local process = require "process"
local quote = process.quote
local peers = {}

local here = arg[0]:match("^(.*)/") or "."
local build = here .. "/../../build"

-- The command that runs this script, so that the same build is measured; LUBDUB names another.
local function find_engine()
  local first = 0
  while arg[first - 1] do first = first - 1 end
  local self = first < 0 and arg[first]
  return os.getenv("LUBDUB") or (self and self:match("lubdub[^/]*$") and self) or build .. "/lubdub"
end

local function find_lua()
  for _, name in ipairs { os.getenv("LUA") or "lua5.4", "lua5.4", "lua" } do
    if process.output(name .. " -v"):match("^Lua 5%.4") then return name end
  end
end

peers.engine_path = find_engine()
peers.lua = find_lua()

--- The engine that begins, does nothing and ends.
peers.nothing = quote(peers.engine_path) .. " run /dev/null"

function peers.engine(path, n, carriers, more)
  return ("env LUBDUB_CARRIERS=%d %s run %s %s %d %s"):format(carriers, quote(peers.engine_path),
    quote(here .. "/one.lua"), path, n, more and quote(tostring(more)) or "")
end

--- The workload as a C program on the engine (make bench builds it).
function peers.program(id, n) return ("%s %d"):format(quote(build .. "/bench/" .. id), n) end

-- Without a stock Lua the engine's own coroutines are the floor; they do a little more than Lua's.
function peers.floor(name, n, more)
  local lua = peers.lua or quote(peers.engine_path) .. " run"
  return ("%s %s %s %d %s"):format(lua, quote(here .. "/floor.lua"), name, n, more or "")
end

local function list(command)
  local has = {}
  for name in process.output(command .. " list"):gmatch("[%w_]+") do has[name] = true end
  return has
end

local function go()
  if not process.exists("go") then
    return nil, "Go is not installed: apt-get install golang-go, dnf install golang, apk or brew install go"
  end
  local binary = quote(build .. "/bench/go")
  local make = "mkdir -p %s/bench && go build -o %s %s/peers/go/*.go"
  local text, ok = process.output(make:format(quote(build), binary, quote(here)))
  if not ok then return nil, "Go does not build its peer: " .. text end
  return {
    name = "go", title = "Go", version = process.output("go version"):match("go(%d[%w.]*)"), has = list(binary),
    nothing = binary .. " nothing",
    command = function(id, n, carriers) return ("env GOMAXPROCS=%d %s %s %d"):format(carriers, binary, id, n) end,
  }
end

local function erlang()
  if not process.exists("erlc") then
    return nil, "Erlang is not installed: apt-get install erlang-base, dnf, apk or brew install erlang"
  end
  local to = quote(build .. "/bench/erlang")
  local text, ok = process.output(("mkdir -p %s && erlc -o %s %s/peers/erlang/*.erl"):format(to, to, quote(here)))
  if not ok then return nil, "Erlang does not build its peer: " .. text end
  local function command(carriers, arguments)
    local erl = "env ERL_CRASH_DUMP_BYTES=0 erl +S %d:%d +P 4000000 -noinput -pa %s -run bench main %s"
    return erl:format(carriers, carriers, to, arguments)
  end
  return {
    name = "erlang", title = "Erlang", has = list(command(1, "")), nothing = command(2, "nothing"),
    version = process.output("erl -noinput -eval 'io:put_chars(erlang:system_info(otp_release)), halt().'"),
    command = function(id, n, carriers) return command(carriers, id .. " " .. n) end,
  }
end

-- make bench builds it.
local function pthreads()
  local binary = quote(build .. "/bench/peers/c/bench")
  if not process.exists(build .. "/bench/peers/c/bench") then return nil, "C with pthreads is not built: make bench" end
  return {
    name = "c", title = "C", version = "with pthreads", has = list(binary), nothing = binary .. " nothing",
    command = function(id, n, carriers) return ("env CPUS=%d %s %s %d"):format(carriers, binary, id, n) end,
  }
end

local function coroutines()
  if not peers.lua then
    return nil, "Lua 5.4 is not installed: apt-get, dnf, apk install lua5.4 (lua), brew install lua"
  end
  local command = peers.lua .. " " .. quote(here .. "/peers/lua/run.lua")
  return {
    name = "coroutines", title = "Lua", version = process.output(peers.lua .. " -v"):match("Lua (%S+)"),
    has = list(command), nothing = peers.lua .. " /dev/null",
    command = function(id, n) return ("%s %s %d"):format(command, id, n) end,
  }
end

-- make bench builds it. It has one thread.
local function bare()
  local path = build .. "/bench/peers/bare/bare"
  local command = quote(path) .. " " .. quote(here .. "/peers/bare/run.lua")
  if not process.exists(path) then return nil, "the bare binding is not built: make bench" end
  return {
    name = "bare", title = "bare", version = "(the least that Lua in C can do)", has = list(command), alone = true,
    command = function(id, n) return ("%s %s %d"):format(command, id, n) end,
  }
end

-- No distribution packages Lua states on threads with channels between them.
local function states()
  return nil, "luaproc, Lanes and effil are not measured: Debian packages none of them for Lua 5.4"
end

--- -> the peers found, and a line for each that was not
function peers.find()
  local found, missing = {}, {}
  for _, look in ipairs { go, erlang, pthreads, coroutines, bare, states } do
    local peer, why = look()
    if peer then found[#found + 1] = peer else missing[#missing + 1] = why end
  end
  return found, missing
end

return peers
