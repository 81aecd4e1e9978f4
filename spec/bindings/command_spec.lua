local command = os.getenv "LUBDUB" or "build/lubdub"

local function run(args)
  local p = assert(io.popen(command .. " " .. args .. " 2>&1; echo \"code $?\""))
  local text = p:read "a"
  p:close()
  return tonumber(text:match "code (%d+)\n$"), (text:gsub("code %d+\n$", ""))
end

local function script(text)
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

describe("the command", function()
  it("runs a script with its arguments", function()
    local code, text = run("run " .. script "print(arg[1] .. select(2, ...))" .. " a b")
    assert.equals(0, code)
    assert.equals("ab\n", text)
  end)

  it("ends with 1 and a traceback when the script fails", function()
    local code, text = run(script "local function f() error 'boom' end f()")
    assert.equals(1, code)
    assert.matches("boom.*traceback", text)
  end)

  it("ends with 1 when the script does not exist or parse, with 2 on misuse", function()
    assert.equals(1, (run "/nonexistent.lua"))
    assert.equals(1, (run(script "x =")))
    assert.equals(2, (run ""))
    assert.equals(2, (run "--what"))
  end)

  it("ends with 4 on a deadlock, and says who waits for what", function()
    local code, text = run(script "require 'lubdub'.chan(0, 'never'):recv()")
    assert.equals(4, code)
    assert.matches("deadlock.*recv on 'never' at .*:1", text)
  end)

  it("runs the seed's programs", function()
    local _, text = run "scripts/examples/unit.lua"
    assert.matches("^pulse\nresults %d\npulse\nresults %d\n", text)
    _, text = run "scripts/examples/interval.lua 0.5"
    assert.matches("^pulse\npulse\nresults %d%d\n", text)
    _, text = run "scripts/examples/unhealthy.lua 0.1"
    assert.matches("pulse\npulse\nworker goroutine is not healthy!\n$", text)
  end)
end)

describe("the README", function()
  it("has a tour that runs as written", function()
    local f = assert(io.open "README.md")
    local tour = f:read "a":match "\n```lua\n(.-)\n```\n"
    f:close()
    local code, text = run(script(tour))
    assert.equals("hello\n500000500000\nnil\tkilled\n", text)
    assert.equals(0, code)
  end)
end)
