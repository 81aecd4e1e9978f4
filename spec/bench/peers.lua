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

function peers.engine(id, n, carriers)
  return ("env LUBDUB_CARRIERS=%d %s run %s %s %d"):format(carriers, quote(peers.engine_path),
    quote(here .. "/one.lua"), id, n)
end

--- The workload as a C program on the engine (make bench builds it).
function peers.program(id, n) return ("%s %d"):format(quote(build .. "/bench/" .. id), n) end

-- Without a stock Lua the engine's own coroutines are the floor; they do a little more than Lua's.
function peers.floor(name, n)
  local lua = peers.lua or quote(peers.engine_path) .. " run"
  return ("%s %s %s %d"):format(lua, quote(here .. "/floor.lua"), name, n)
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
    command = function(id, n, carriers) return ("env GOMAXPROCS=%d %s %s %d"):format(carriers, binary, id, n) end,
  }
end

local function coroutines()
  if not peers.lua then
    return nil, "Lua 5.4 is not installed: apt-get, dnf, apk install lua5.4 (lua), brew install lua"
  end
  local command = peers.lua .. " " .. quote(here .. "/peers/lua/run.lua")
  return {
    name = "coroutines", title = "Lua", version = process.output(peers.lua .. " -v"):match("Lua (%S+)"),
    has = list(command),
    command = function(id, n) return ("%s %s %d"):format(command, id, n) end,
  }
end

--- -> the peers found, and a line for each that was not
function peers.find()
  local found, missing = {}, {}
  for _, look in ipairs { go, coroutines } do
    local peer, why = look()
    if peer then found[#found + 1] = peer else missing[#missing + 1] = why end
  end
  return found, missing
end

return peers
