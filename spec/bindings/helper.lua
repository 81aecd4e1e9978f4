--- What several specs need. `require "spec.bindings.helper"` with the repository's root as working directory.
local lub = require "lubdub"
local simcore = require "lubdub.simcore"
require "lubdub.sim"

local helper = {}

helper.capacities = { 0, 1, 2, 64 }
helper.long = 20 -- seconds: longer than any healthy wait, so that a broken one fails instead of hanging
helper.nan = 0 / 0
helper.command = os.getenv "LUBDUB" or "build/lubdub"
helper.lua = os.getenv "LUA" or "lua5.4" -- one that can load the module
helper.cc = os.getenv "CC_SAN" or "cc" -- one whose programs can link the library
-- what such a program needs behind liblubdub-lua.a
helper.link_lua = os.getenv "LINK_LUA" or "$(pkg-config --libs lua5.4) -pthread -lm"

--- A word like `it`, of a sentence and a function, whose specs run in a sim with these options; with `runs` among
--- them in as many sims, each of another schedule.
function helper.in_sim(it, opts)
  local sim = opts and opts.runs and lub.explore or lub.sim
  return function(sentence, fn) return it(sentence, sim(opts or {}, fn)) end -- a tail call: `it` names its caller
end

--- A word like `it` that makes two specs: on the real engine, and in sims of other and other schedules.
function helper.in_both(it)
  local in_any_order = helper.in_sim(it, { runs = 20 })
  return function(sentence, fn)
    it(sentence, fn)
    return in_any_order(sentence .. ", in any order", fn)
  end
end

--- How often a race is to be run: n times on real carriers, a few in each of many sims.
function helper.rounds(n) return simcore.inside() and math.min(n, 5) or n end

--- Yields until `ready()` is true; an error after `helper.long` seconds.
function helper.eventually(ready)
  local limit = lub.now() + helper.long
  while not ready() do
    if lub.now() > limit then error("it never came about", 2) end
    lub.yield()
  end
end

local moving = { starting = true, runnable = true, busy = true }

--- Waits until the fiber or worker is parked (or has ended), and gives it back. In a sim all are, and no time passes.
function helper.parked(x)
  if simcore.inside() then lub.settle() else helper.eventually(function() return not moving[x:state()] end) end
  return x
end

--- A fiber that has run fn up to its first wait.
function helper.go(fn, ...) return helper.parked(lub.go(fn, ...)) end

--- The results of a fiber or worker that must end.
function helper.join(x) return x:join(helper.long) end

local function escape(text) return (text:gsub("%p", "%%%0")) end

--- What an error message shows of a value: its type, and a number itself.
local function shown(value)
  if value == nil then return "n" end -- nil, nothing, no value
  if value ~= value then return "number %-?nan" end
  if type(value) == "number" then return "number " .. escape(tostring(value)) end
  return type(value) == "userdata" and "" or type(value)
end

--- `fn(...)` raises `name: argument n: expected …, got …` about `value`, the offending argument.
function helper.refuses(name, n, value, fn, ...)
  local ok, why = pcall(fn, ...)
  local case = ("%s, argument %d: %s"):format(name, n, tostring(value))
  assert(not ok, case .. " was accepted")
  local pattern = escape(name) .. ": argument " .. n .. ": expected .+ got .*" .. shown(value)
  assert(type(why) == "string" and why:find(pattern), case .. " is refused with: " .. tostring(why))
end

--- `fn(...)` raises an error that contains the text.
function helper.raises(text, fn, ...)
  local ok, why = pcall(fn, ...)
  assert(not ok, "no error, expected: " .. text)
  assert(tostring(why):find(text, 1, true), "expected: " .. text .. "\ngot: " .. tostring(why))
end

--- Every value that is no wait: `refuses` for each, `call(value)` makes the operation.
function helper.refuses_waits(name, n, call)
  for _, bad in ipairs { "1", "x", {}, true, false, print, helper.nan } do helper.refuses(name, n, bad, call, bad) end
end

--- A temporary file with this text; its path.
function helper.file(text)
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  f:write(text or "")
  f:close()
  return path
end

--- A new empty folder; its path.
function helper.folder()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. path))
  return path
end

function helper.read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

--- Runs a shell line; its exit code, what it wrote to stdout and what to stderr.
function helper.shell(line)
  local err = os.tmpname()
  local p = assert(io.popen(("{ %s\n} 2>%s; echo \"code $?\""):format(line, err)))
  local out = p:read "a"
  p:close()
  local text = helper.read(err)
  os.remove(err)
  return tonumber(out:match "code (%d+)\n$"), (out:gsub("code %d+\n$", "")), text
end

--- Runs the command with these arguments (shell words).
function helper.run(args) return helper.shell(helper.command .. " " .. args) end

--- Runs the command on a script with this text.
function helper.script(text, args)
  local path = helper.file(text)
  local code, out, err = helper.run("run " .. path .. " " .. (args or ""))
  os.remove(path)
  return code, out, err, path
end

--- The same in a stock Lua.
function helper.stock(text)
  local path = helper.file(text)
  local code, out, err = helper.shell(helper.lua .. " " .. path)
  os.remove(path)
  return code, out, err, path
end

return helper
