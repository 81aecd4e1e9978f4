-- What the README shows is true: its Lua and C run, its output is what comes out, its targets and files exist.
--
-- A block of Lua or C runs as it stands; behind the language stand `exit=4`, its exit code, and the name of a spec that
-- busted runs. What it prints is compared with the text block right behind it, whole, or with what stands behind `-->`
-- on its lines that print. In a text block a line `...` stands for any lines, and what differs from run to run (times,
-- memory, tokens) is not compared.
local helper = require "spec.bindings.helper"
require "lubdub.sim" -- which adds to lubdub's functions

local readme = helper.read "README.md"

--- The fenced blocks: { language=, exit=, spec= the name of a busted spec, text=, output= the text block right behind
--- it, before= the line before it }.
local function read_blocks()
  local found, block, last, ended = {}, nil, "", 0
  local n = 0
  for line in (readme .. "\n"):gmatch "(.-)\n" do
    n = n + 1
    local language, info = line:match "^```(%l*) ?(.*)$"
    if not language then
      if block then block[#block + 1] = line else last = line ~= "" and line or last end
    elseif block then
      block.text = table.concat(block, "\n")
      local before = found[#found]
      if block.language == "text" and before and before.language ~= "text" and ended == block.line - 1 then
        before.output = block.text
      else
        found[#found + 1] = block
      end
      block, ended = nil, n
    else
      block = { language = language, exit = tonumber(info:match "exit=(%d+)$" or 0), line = n, before = last }
      block.spec = info:match "^%S+_spec%.lua"
    end
  end
  assert(not block, "a block that does not end")
  return found
end

local all = read_blocks()

local function blocks(language)
  local found = {}
  for _, block in ipairs(all) do
    if block.language == language and not block.spec then found[#found + 1] = block end
  end
  return found
end

--- Without what differs from run to run.
local function steady(text)
  return (text:gsub("%d+%.%d+ s", "N s"):gsub("memory=%d+ KiB", "memory=N KiB"):gsub("[^%s']*%.lua:", "script.lua:")
    :gsub("/tmp/[^%s:]+:", "script.lua:"):gsub("lub1:%S+", "lub1:TOKEN"):gsub(": %d+%.%d+ seconds", ": N seconds"))
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

--- Whether the lines from i on are the shown ones from k on.
local function matches(lines, i, shown, k)
  while shown[k] ~= "..." do
    if shown[k] ~= lines[i] then return false end
    if not shown[k] then return true end
    i, k = i + 1, k + 1
  end
  for at = i, #lines + 1 do
    if matches(lines, at, shown, k + 1) then return true end
  end
  return false
end

local function shows(shown, printed)
  assert(matches(lines_of(steady(printed)), 1, lines_of(steady(shown)), 1),
    ("the README shows\n%s\nand this was printed:\n%s"):format(shown, printed))
end

local function squeezed(text) return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")) end

--- What a snippet says that it prints: the texts behind `-->`, in order.
local function promises(snippet)
  local found = {}
  for line in snippet:gmatch "[^\n]+" do
    local promise = line:match "%-%->%s*(.-)%s*$"
    if promise then found[#found + 1] = squeezed(promise) end
  end
  return found
end

--- Each printed line is shown, and nothing else is.
local function compare(block, printed)
  if block.output then return shows(block.output, printed) end
  local told = lines_of(printed)
  for i, line in ipairs(told) do told[i] = squeezed(line) end
  assert.same(promises(block.text), told)
end

describe("the README", function()
  it("begins with the name and says what it is for", function()
    assert.matches("^# lubdub\n", readme)
  end)

  it("has snippets of Lua", function() assert.is_true(#blocks "lua" >= 5) end)

  for i, block in ipairs(blocks "lua") do
    it("has a snippet " .. i .. " that prints what it shows", function()
      local code, out, err = helper.script(block.text)
      assert.equals(block.exit, code, err)
      if block.exit == 0 then assert.equals("", err) end
      compare(block, out .. err)
    end)

    if block.exit == 0 then
      it("has a snippet " .. i .. " that does so in a stock Lua too", function()
        local path = helper.file(block.text)
        local code, out, err = helper.shell(helper.lua .. " " .. path)
        os.remove(path)
        assert.equals("", err)
        assert.equals(0, code)
        compare(block, out)
      end)
    end
  end

  for _, block in ipairs(all) do
    if block.spec then
      it("has " .. block.spec .. ", of which busted says what it shows", function()
        local folder = helper.folder()
        local f = assert(io.open(folder .. "/" .. block.spec, "w"))
        f:write(block.text, "\n")
        f:close()
        local line = ("here=$PWD && cd %s && %s $here/spec/build/busted.lua --ignore-lua -o plainTerminal %s")
        local code, out = helper.shell(line:format(folder, helper.lua, block.spec))
        os.execute("rm -r " .. folder)
        assert.equals(block.exit, code, out)
        shows(block.output, out)
      end)
    end
  end

  it("has C that compiles without a warning and prints what it shows", function()
    local build = helper.command:match "^(.*)/[^/]*$"
    for _, block in ipairs(blocks "c") do
      local name = os.tmpname()
      local f = assert(io.open(name .. ".c", "w"))
      f:write(block.text, "\n")
      f:close()
      local line = helper.cc .. " -std=c11 -Wall -Wextra -Werror -Icore -Ibindings %s.c " ..
        "%s/liblubdub-lua.a -o %s %s && %s"
      local code, out, err = helper.shell(line:format(name, build, name, helper.link_lua, name))
      os.remove(name)
      os.remove(name .. ".c")
      assert.equals("", err)
      assert.equals(0, code)
      compare(block, out)
    end
  end)

  it("shows what make demo prints", function()
    local shown = assert(readme:match "`make demo` runs.-```text\n(.-)```")
    local code, out, err = helper.run "run scripts/examples/interval.lua 1"
    assert.equals("", err)
    assert.equals(0, code)
    shows(shown:gsub("results %d%d", "results NN"), (out:gsub("results %d%d", "results NN")))
  end)

  it("names suites that make test has", function()
    local shown = assert(readme:match "`make test` takes.-```text\n(.-)```")
    for name in shown:gmatch "(%S+)%s+%d+ passed\n" do
      local f = io.open("spec/" .. name .. ".c") or io.open("spec/" .. name .. ".lua")
      assert(f, name)
      f:close()
    end
    assert.matches("%d+ passed, 0 failed\n$", shown)
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

  it("names only files that exist", function()
    local function exists(name)
      local f = io.open(name)
      return f and f:close()
    end
    for row in readme:gmatch "\n| (`[^|]-%.[ch]`[^|]*) |" do
      for name in row:gmatch "`([^`]+)`" do
        assert(exists(name) or exists("core/" .. name) or exists("bindings/" .. name), name)
      end
    end
    local function known(name, folder)
      return readme:find("`" .. name .. "`", 1, true) or readme:find("`" .. folder .. "/" .. name .. "`", 1, true)
    end
    local p = io.popen "ls core/*.c bindings/*.c"
    for folder, name in p:read("a"):gmatch "(%l+)/(%g+)" do assert(known(name, folder), folder .. "/" .. name) end
    p:close()
    local waker = assert(readme:match "A blocked send is woken in `([%w_]+)`")
    assert(helper.read("core/chan.c"):find(waker, 1, true), waker)
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

  it("names each method of the handles, and none that they lack", function()
    local lub = require "lubdub"
    local heart = lub.heart { interval = 1000 }
    local steward = lub.steward { start = function() end }
    local handles = { lub.chan(), lub.self(), lub.workers()[1], lub.after(1000, print), heart, steward }
    heart:close()
    steward:join()
    local has = {}
    for _, handle in ipairs(handles) do
      for name in pairs(debug.getmetatable(handle).__index) do
        if not name:find "^__" then has[name] = true end
      end
    end
    local table_of_calls = assert(readme:match "\n## The API\n(.-)\n## ")
    local told = {}
    for cell in table_of_calls:gmatch "\n| ([^|]+) |" do
      for name in cell:gmatch "[%l`]:([%l_]+)%(" do told[name] = true end
    end
    told.stop, told.reset = true, true -- of timers, in the column of results
    for name in pairs(has) do assert(told[name], "the README does not tell of :" .. name) end
    for name in pairs(told) do assert(has[name], "nothing has a method " .. name) end
  end)

  it("lists the exit codes that the command has", function()
    for _, code in ipairs { "0", "1", "2", "3", "4", "130", "143" } do
      assert(readme:find("\n| [^|]*%f[%d]" .. code .. "%f[%D][^|]* |"), "exit code " .. code)
    end
  end)
end)
