-- A script cannot tell a worker's state from stock Lua's, whatever it touches first. Each probe is a script of its own:
-- it runs in stock Lua, in the command and in a spawned worker, and must print the same in all three.
local helper = require "spec.bindings.helper"

local spawning = [[
local lub = require "lubdub"
for _, probe in ipairs(arg) do
  local _, why = lub.spawn(probe):join()
  if why then error(why, 0) end
end
]]

-- What the line prints, but for addresses.
local function output(line)
  local code, out, err = helper.shell(line)
  return code .. "\n" .. (out .. err):gsub("0x%x+", "0x")
end

local function each(program, paths)
  return ("(for p in %s; do timeout 20 %s $p || exit; done)"):format(paths, program)
end

local function same_everywhere(...)
  local probes, spawner = {}, helper.file(spawning)
  for i, text in ipairs { ... } do probes[i] = helper.file(text) end
  local paths = table.concat(probes, " ")
  local stock = output(each(helper.lua, paths))
  local main = output(each(helper.command .. " run", paths))
  local spawned = output(("timeout 20 %s run %s %s"):format(helper.command, spawner, paths))
  os.remove(spawner)
  for _, path in ipairs(probes) do os.remove(path) end
  assert(stock:find "^0\n.", "the probe itself fails: " .. stock)
  assert.equals(stock, main)
  assert.equals(stock, spawned)
end

describe("the coroutines of a worker, like stock Lua's,", function()
  it("name themselves and what they want in their errors", function()
    same_everywhere [[
      for _, name in ipairs { "create", "wrap", "resume", "yield", "close", "status", "isyieldable" } do
        local f = coroutine[name]
        print(name, pcall(f))
        print(name, pcall(f, nil))
        print(name, pcall(f, 5))
        print(name, pcall(function() f {} end))
        print(name, pcall(function() coroutine[name](print) end))
      end
      print(pcall(coroutine.wrap(function() error "inside" end)))
      print(pcall(coroutine.wrap(function() error {} end)))
      local w = coroutine.wrap(print)
      w()
      print(pcall(w))
      print(pcall(function() w() end))
      print(coroutine.resume(coroutine.running()))
      print(select(2, coroutine.running()), coroutine.isyieldable(), coroutine.status(coroutine.running()))
      print(pcall(coroutine.close, coroutine.running()))
      print(coroutine.wrap(function() return pcall(table.sort, { 1, 2, 3 }, coroutine.yield) end)())
    ]]
  end)
end)
