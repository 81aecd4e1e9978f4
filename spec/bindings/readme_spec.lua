-- What the README shows is true: its Lua and C run, its output is what comes out, its targets and files exist.
local helper = require "spec.bindings.helper"

local readme = helper.read "README.md"

local function blocks(language)
  local found = {}
  for text in ("\n" .. readme):gmatch("\n```" .. language .. "\n(.-)\n```") do found[#found + 1] = text end
  return found
end

local function squeezed(text) return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")) end

--- What a snippet promises: the texts behind `-->` on lines that print.
local function promises(snippet)
  local found = {}
  for line in snippet:gmatch "[^\n]+" do
    local promise = line:match "print.*%-%->%s*(.-)%s*$"
    if promise then found[#found + 1] = squeezed(promise) end
  end
  return found
end

describe("the README", function()
  it("begins with the name and says what it is for", function()
    assert.matches("^# lubdub\n", readme)
  end)

  it("has snippets that parse", function()
    local snippets = blocks "lua"
    assert.is_true(#snippets > 0)
    for i, snippet in ipairs(snippets) do
      local f, why = load(snippet, "=README.md snippet " .. i, "t")
      assert(f, why)
    end
  end)

  for i, snippet in ipairs(blocks "lua") do
    it("has a snippet " .. i .. " that runs as written and prints what it promises", function()
      local code, out, err = helper.script(snippet)
      assert.equals("", err)
      assert.equals(0, code)
      local text, from = squeezed(out), 1
      for _, promise in ipairs(promises(snippet)) do
        local _, at = text:find(promise, from, true)
        assert(at, ("snippet %d promises %q, and printed:\n%s"):format(i, promise, out))
        from = at + 1
      end
    end)

    it("has a snippet " .. i .. " that runs in a stock Lua too", function()
      local path = helper.file(snippet)
      local code, _, err = helper.shell(helper.lua .. " " .. path)
      os.remove(path)
      assert.equals("", err)
      assert.equals(0, code)
    end)
  end

  it("has C that compiles without a warning and runs", function()
    local build = helper.command:match "^(.*)/[^/]*$"
    for _, source in ipairs(blocks "c") do
      local name = os.tmpname()
      local f = assert(io.open(name .. ".c", "w"))
      f:write(source, "\n")
      f:close()
      local line = helper.cc .. " -std=c11 -Wall -Werror -Icore %s.c %s/liblubdub.a -o %s -pthread -lm && %s"
      local code, _, err = helper.shell(line:format(name, build, name, name))
      os.remove(name)
      os.remove(name .. ".c")
      assert.equals("", err)
      assert.equals(0, code)
    end
  end)

  it("names only targets that the Makefile has", function()
    local makefile = "\n" .. helper.read "Makefile"
    for _, before in ipairs { "`", "\n", "\n    " } do
      for target in readme:gmatch(before .. "make (%l+)") do
        assert(makefile:find("\n" .. target .. ":", 1, true), "make " .. target)
      end
    end
    assert.matches("make demo", readme)
    assert.matches("make test", readme)
  end)

  it("links only to files that exist", function()
    for target in readme:gmatch "%]%(([^)]+)%)" do
      if not target:find "^%a+:" and not target:find "^#" then
        local f = io.open((target:gsub("#.*", "")))
        assert(f, target)
        f:close()
      end
    end
  end)

  it("names only functions that the module has, and misses none", function()
    local lub = require "lubdub"
    for name in readme:gmatch "%f[%w_]lub%.([%a_]+)%(" do assert(lub[name] ~= nil, "lub." .. name) end
    for name, value in pairs(lub) do
      if type(value) == "function" then
        assert(readme:find("lub." .. name, 1, true), "the README does not tell of lub." .. name)
      end
    end
  end)

  it("lists the exit codes that the command has", function()
    for _, code in ipairs { "0", "1", "2", "4", "130" } do
      assert(readme:find("%f[%d]" .. code .. "%f[%D]"), "exit code " .. code)
    end
  end)
end)
