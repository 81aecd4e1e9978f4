-- `lubdub` from outside: what it prints, where, and its exit code.
local helper = require "spec.bindings.helper"

local run, script, shell = helper.run, helper.script, helper.shell

local function lines(text)
  local n = 0
  for _ in text:gmatch "[^\n]+" do n = n + 1 end
  return n
end

--- Runs a script with a shell beside it that sends signals. The script finds three paths in `...`: it creates
--- the first when it is ready, may create the second, and may wait for the third. `steps` is shell: $pid is
--- the command, `appears FILE` waits for a file, `shows TEXT [N]` for N lines with it in $err, the command's stderr,
--- `insists SIGNAL` sends one again and again until the command has ended; $1 to $3 are the paths.
local function signalled(text, steps)
  local path, out, err = helper.file(text), os.tmpname(), os.tmpname()
  local marks = {}
  for i = 1, 3 do
    marks[i] = os.tmpname()
    os.remove(marks[i])
  end
  local driver = helper.file(([[
appears() { n=0; while [ ! -e "$1" ] && [ $n -lt 2000 ]; do sleep 0.01; n=$((n + 1)); done; }
shows() { n=0; while [ "$(grep -c "$1" "$err")" -lt ${2:-1} ] && [ $n -lt 2000 ]; do sleep 0.01; n=$((n + 1)); done; }
insists() { while kill -$1 $(cat "$err.pid"); do sleep 0.01; done; }
err=%s
{ %s
} >/dev/null 2>&1 &
exec timeout -s KILL --foreground 60 sh -c 'echo $$ >"$0.pid"; exec "$@"' "$err" %s run %s "$@" >%s 2>"$err"
]]):format(err, steps:gsub("%$pid", "$(cat $err.pid)"), helper.command, path, out))
  local code = shell(("sh %s %s"):format(driver, table.concat(marks, " ")))
  local stdout, stderr = helper.read(out), helper.read(err)
  for _, name in ipairs { path, out, err, err .. ".pid", driver, marks[1], marks[2], marks[3] } do os.remove(name) end
  return code, stdout, stderr, path
end

local prelude = [[
local lub = require "lubdub"
local ready, second, third = ...
local function mark(path) io.open(path, "w"):close() end
local function exists(path) local f = io.open(path) if f then f:close() end return f ~= nil end
local function guard(text)
  return setmetatable({}, { __close = function() io.write(text, "\n") io.flush() end })
end
]]

describe("lubdub run", function()
  -- Each argument was written by itself.
  it("prints a line as one, whatever other workers print", function()
    local _, out = helper.script [[
      local lub = require "lubdub"
      local workers = {}
      for i = 1, 4 do
        workers[i] = lub.spawn(function() for n = 1, 5000 do print(("x"):rep(20), n, true, nil) end end)
      end
      for _, w in ipairs(workers) do w:join() end]]
    local whole = 0
    for line in out:gmatch "[^\n]*\n" do
      if line:find("^x+\t%d+\ttrue\tnil\n$") then whole = whole + 1 end
    end
    assert.equals(20000, whole)
  end)

  it("runs a script and ends with 0", function()
    local code, out, err = script "print 'hello'"
    assert.equals(0, code)
    assert.equals("hello\n", out)
    assert.equals("", err)
  end)

  it("may be left out", function()
    local path = helper.file "print(...)"
    local code, out = run(path .. " a b")
    os.remove(path)
    assert.equals(0, code)
    assert.equals("a\tb\n", out)
  end)

  it("runs an empty script, and one that begins with #!", function()
    assert.equals(0, (script ""))
    local code, out = script "#!/usr/bin/env lubdub\nprint(1)"
    assert.equals(0, code)
    assert.equals("1\n", out)
  end)

  it("hands the arguments to arg and to ...", function()
    local code, out, _, path = script([[
      assert(select("#", ...) == #arg)
      for i, v in ipairs { ... } do assert(arg[i] == v) print("[" .. v .. "]") end
      print(arg[0])
    ]], [[a 'b c' '' 'é' -x --what 7]])
    assert.equals(0, code)
    assert.equals("[a]\n[b c]\n[]\n[é]\n[-x]\n[--what]\n[7]\n" .. path .. "\n", out)
  end)

  it("gives arguments as strings, and none when there are none", function()
    local _, out = script("print(math.type(arg[1]), type(arg[1]))", "7")
    assert.matches("string", out)
    _, out = script "print(select('#', ...), #arg)"
    assert.equals("0\t0\n", out)
  end)

  it("hands on thousands of arguments", function()
    local code, out = script("print(select('#', ...), arg[#arg])", "$(seq 5000)")
    assert.equals(0, code)
    assert.equals("5000\t5000\n", out)
  end)

  it("reads the script from stdin when it is named -", function()
    local code, out, err = shell(([[
      printf 'print(arg[0], ...)\nerror "boom"\n' | %s run - a b; code=$?
      echo 'print "again"' | %s -; (exit $code)
    ]]):format(helper.command, helper.command))
    assert.equals(1, code)
    assert.equals("-\ta\tb\nagain\n", out)
    assert.matches("stdin:2: boom", err)
  end)

  it("leaves the programs that a script starts the signals that end them", function()
    local code, out = script [[
      os.execute "for s in INT QUIT TERM URG; do sh -c \"kill -$s \\$\\$; echo survived $s\"; done 2>/dev/null"
      local p = io.popen "kill -TERM $$; echo survived"
      print(p:read "a", select(3, p:close()))
    ]]
    assert.equals(0, code)
    assert.equals("survived URG\n\t15\n", out) -- URG is ignored unless asked for
  end)

  it("leaves stdin to the script", function()
    local path = helper.file "print(io.read 'l')"
    local _, out = shell(("echo from outside | %s run %s"):format(helper.command, path))
    os.remove(path)
    assert.equals("from outside\n", out)
  end)

  it("has the standard libraries, and lubdub by require alone", function()
    local code, out = script [[
      for _, name in ipairs { "coroutine", "debug", "io", "math", "os", "string", "table", "utf8" } do
        assert(type(_G[name]) == "table", name)
      end
      print(lub, lubdub, type(require "lubdub"))
    ]]
    assert.equals(0, code)
    assert.equals("nil\tnil\ttable\n", out)
  end)

  it("can require modules beside the working directory", function()
    local code, out = shell(([[
      d=$(mktemp -d); echo 'return "found"' >$d/mod.lua; echo 'print((require "mod"))' >$d/main.lua
      case %s in /*) c=%s;; *) c=$PWD/%s;; esac; cd $d; $c run main.lua; code=$?; rm -r $d; (exit $code)
    ]]):format(helper.command, helper.command, helper.command))
    assert.equals(0, code)
    assert.equals("found\n", out)
  end)

  it("ends with its main function, whatever other fibers and workers do", function()
    local code, out = script [[
      local lub = require "lubdub"
      lub.go(function() lub.sleep(1000) end)
      lub.go(function() lub.chan():recv() end)
      local w = lub.spawn(function() while true do end end)
      while w:state() == "starting" do lub.yield() end
      print "done"
    ]]
    assert.equals("done\n", out)
    assert.equals(0, code)
  end)

  it("ends with the code that os.exit is given", function()
    assert.equals(7, (script "io.write 'out' os.exit(7)"))
    local code, out = script "io.write 'out' os.exit(true)"
    assert.equals(0, code)
    assert.equals("out", out)
  end)

  it("closes what waits, sleeps and joins when a fiber calls os.exit(code, true)", function()
    local code, out = script [[
      local lub = require "lubdub"
      local function guarded(name, wait)
        return lub.go(function()
          local guard <close> = setmetatable({}, { __close = function() io.write(name, " ") end })
          wait()
          return guard
        end)
      end
      local sleeper = guarded("sleeper", function() lub.sleep(60) end)
      guarded("receiver", function() lub.chan():recv() end)
      guarded("joiner", function() sleeper:join() end)
      guarded("watcher", function() sleeper:done():recv() end)
      lub.go(function() os.exit(5, true) end)
      lub.sleep(60)]]
    local closed = {}
    for name in out:gmatch "%a+" do closed[#closed + 1] = name end
    table.sort(closed)
    assert.same({ 5, { "joiner", "receiver", "sleeper", "watcher" } }, { code, closed })
  end)
end)

describe("what a script leaves behind where Lua cannot yield", function()
  local function ends(text)
    local path = helper.file("local lub = require 'lubdub' " .. text)
    for _, word in ipairs { "run", "sim" } do assert.same({ 0, "end\n", "" }, { helper.run(word .. " " .. path) }) end
    os.remove(path)
  end

  it("ends with it: a fiber", function()
    ends [[
      lub.go(function() string.gsub("x", ".", function() lub.chan():recv() end) end)
      lub.go(function() table.sort({ 1, 2 }, function() lub.sleep(0.1) print "later" end) end)
      lub.yield()
      print "end"]]
  end)

  it("ends with it: a worker, and what that left behind", function()
    ends [[
      local function wait() string.gsub("x", ".", function() lub.chan():recv() end) end
      lub.spawn(wait)
      lub.spawn(function()
        lub.go(wait)
        lub.yield()
      end):join()
      print "end"]]
  end)
end)

describe("a script that fails", function()
  it("ends with 1 and names the error, where it was raised, and a traceback on stderr", function()
    local code, out, err, path = script "print 'before'\nlocal function f() error 'boom' end\nf()"
    assert.equals(1, code)
    assert.equals("before\n", out)
    assert.matches(path .. ":2: boom", err, 1, false)
    assert.matches("traceback", err)
    assert.matches(path .. ":3:", err)
  end)

  it("names worker and fiber", function()
    local _, _, err = script "error 'boom'"
    assert.matches("worker '?main", err)
    assert.matches("fiber '?main", err)
  end)

  it("in a fiber that nobody joins names worker, fiber, spawn site and traceback", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
local function fail() error "boom" end
local function body() fail() return 1 end
lub.go(body)
lub.sleep(1000)]]
    assert.equals(1, code)
    assert.matches(path .. ":2: boom", err)
    assert.matches("worker '?main", err)
    assert.matches("fiber", err)
    assert.matches(path .. ":4", err)
    assert.matches("traceback", err)
    assert.matches(path .. ":3:", err)
  end)

  -- That fiber sits below the others on the stack, where they could not end before it did.
  it("in a fiber that nobody joins ends the script though another waits where Lua cannot yield", function()
    local path = helper.file [[
local lub = require "lubdub"
lub.go(function() string.gsub("x", ".", function() lub.chan(0, "never"):recv() end) end)
lub.go(function()
  lub.yield()
  error "boom"
end)
lub.chan():recv()]]
    for _, word in ipairs { "run", "sim" } do
      local code, _, err = helper.run(word .. " " .. path)
      assert.equals(1, code)
      assert.matches(path .. ":5: boom", err)
      assert.is_nil(err:find "deadlock")
    end
    os.remove(path)
  end)

  it("for want of memory says so, also when its error finds none", function()
    if (os.getenv "SAN" or "") ~= "" then return pending "a sanitizer needs more address space than that" end
    local path = helper.file [[local t = {} for i = 1, 1e8 do t[i] = ("x"):rep(1000) .. i end]]
    for limit = 60000, 100000, 8000 do
      local code, _, err = helper.shell(("ulimit -v %d; %s run %s"):format(limit, helper.command, path))
      assert.equals(1, code)
      assert.matches("^lubdub: not enough memory\n", err)
    end
    os.remove(path)
  end)

  it("for want of memory finds in a dump at least that", function()
    if (os.getenv "SAN" or "") ~= "" then return pending "a sanitizer needs more address space than that" end
    local path = helper.file [[
      local lub = require "lubdub"
      local held, n = { table.unpack({}, 1, 1 << 17) }, 0
      for _, size in ipairs { 1 << 20, 1 << 10 } do
        while pcall(function() held[n + 1] = ("x"):rep(size) end) do n = n + 1 end
      end
      repeat
        held[n], n = nil, n - 1
        collectgarbage()
      until pcall(lub.dump)
      os.exit(0)
    ]]
    local code, _, err = helper.shell(("ulimit -v 100000; %s run %s"):format(helper.command, path))
    os.remove(path)
    assert.same({ 0, "(no memory)\n" }, { code, err })
  end)

  it("is told that no thread takes over its C call, if there is no memory for one", function()
    if (os.getenv "SAN" or "") ~= "" then return pending "a sanitizer needs more address space than that" end
    local fifo, err, path = helper.file(), helper.file(), helper.file [[
      local lub = require "lubdub"
      local held = {}
      while pcall(function() held[#held + 1] = ("x"):rep(1 << 20) end) do end
      held[#held] = nil
      collectgarbage()
      lub.sleep(0.001) -- it begins a slice
      local other = lub.spawn(function() return "other" end)
      io.open(arg[1]):close()
      print(other:join())
    ]]
    os.remove(fifo)
    local code, out = helper.shell(("mkfifo %s; ulimit -v 100000; LUBDUB_CARRIERS=1 %s run %s %s 2>%s & " ..
      "for _ in $(seq 2000); do grep -q . %s && break; sleep 0.01; done; : >%s; wait $!"):format(fifo, helper.command,
      path, fifo, err, err, fifo))
    assert.same({ 0, "other\n" }, { code, out })
    assert.equals("lubdub: a carrier is inside a C call and no thread can be started in its place: " ..
      "workers may have to wait until the call returns\n", helper.read(err))
    for _, name in ipairs { fifo, err, path } do os.remove(name) end
  end)

  it("in a worker that nobody joins is told as well, and is no success", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
local w = lub.spawn({ name = "bad" }, function()
  error "boom"
end)
while w:state() ~= "dead" do lub.yield() end]]
    assert.matches(path .. ":3: boom", err)
    assert.matches("worker '?bad", err)
    assert.matches(path .. ":2", err)
    assert.matches("traceback", err)
    assert.equals(1, code)
  end)

  it("in a fiber of a worker names the worker and the fiber's site to whoever joins", function()
    local code, out, err, path = script [[
local lub = require "lubdub"
local w = lub.spawn({ name = "bad" }, function()
  lub.go(function() error "boom" end)
  lub.sleep(1000)
end)
print(select(2, w:join()))]]
    assert.equals(0, code)
    assert.equals("", err)
    assert.matches("boom", out)
    assert.matches("worker '?bad", out)
    assert.matches(path .. ":3", out)
  end)

  it("is no failure when somebody joins the error", function()
    local code, out, err = script [[
      local lub = require "lubdub"
      local f = lub.go(function() lub.yield() error "boom" end)
      print((f:join()))
    ]]
    assert.equals(0, code)
    assert.equals("nil\n", out)
    assert.equals("", err)
  end)

  it("with an error that is no string shows it as Lua would", function()
    for raised, shown in pairs {
      ["setmetatable({}, { __tostring = function() return 'my error' end })"] = "my error",
      ["{}"] = "table", ["nil"] = "nil", ["42"] = "42" } do
      local code, _, err = script("error(" .. raised .. ")")
      assert.equals(1, code)
      assert.matches(shown, err)
    end
  end)

  it("runs its close handlers", function()
    local code, out = script [[
      local g <close> = setmetatable({}, { __close = function() print "closed" end })
      error "boom"
    ]]
    assert.equals(1, code)
    assert.equals("closed\n", out)
  end)

  it("with a stack overflow fails, and does not crash", function()
    local code, _, err = script "local function f() return 1 + f() end f()"
    assert.equals(1, code)
    assert.matches("stack overflow", err)
  end)
end)

describe("a script that cannot be run", function()
  it("because it does not exist is one line with its path, exit 1", function()
    for _, words in ipairs { "run /nonexistent/script.lua", "/nonexistent/script.lua" } do
      local code, out, err = run(words)
      assert.equals(1, code)
      assert.equals("", out)
      assert.equals(1, lines(err))
      assert.matches("/nonexistent/script.lua", err)
      assert.matches("No such file", err)
    end
  end)

  it("because it does not parse is one line with file and line, exit 1", function()
    local code, out, err, path = script "local a = 1\nlocal b = = 2\n"
    assert.equals(1, code)
    assert.equals("", out)
    assert.equals(1, lines(err))
    assert.matches(path .. ":2: ", err)
  end)

  it("because it is a directory ends with 1", function()
    local code, _, err = run "run /"
    assert.equals(1, code)
    assert.equals(1, lines(err))
  end)

  it("because it is bytecode ends with 1", function()
    local path = os.tmpname()
    local f = assert(io.open(path, "wb"))
    f:write(string.dump(function() print "never" end))
    f:close()
    local code, out, err = run("run " .. path)
    os.remove(path)
    assert.equals(1, code)
    assert.equals("", out)
    assert.equals(1, lines(err))
  end)

  it("because of what its first line raises names that line, exit 1", function()
    local code, _, err, path = script "local x = nil + 1"
    assert.equals(1, code)
    assert.matches(path .. ":1: ", err:match "[^\n]+")
  end)
end)

describe("misuse of the command", function()
  it("ends with 2 and the usage on stderr", function()
    for _, words in ipairs { "", "run", "--what", "run --what", "-x" } do
      local code, out, err = run(words)
      assert.equals(2, code, words)
      assert.equals("", out, words)
      assert.matches("[uU]sage", err)
    end
  end)

  it("includes a number of carriers that makes no sense", function()
    for _, n in ipairs { "0", "-1", "x", "2x", "4097", "1e3", "99999999999999999999" } do
      local path = helper.file "print 'never'"
      local code, out, err = shell(("LUBDUB_CARRIERS=%s %s run %s"):format(n, helper.command, path))
      os.remove(path)
      assert.equals(2, code, n)
      assert.equals("", out)
      assert.equals("lubdub: LUBDUB_CARRIERS: expected a number from 1 to 4096, got " .. n .. "\n", err)
    end
  end)

  it("names what it does not know", function()
    local _, _, err = run "--what"
    assert.matches("'%-%-what'", err)
  end)
end)

describe("lubdub version", function()
  it("prints name and version, exit 0", function()
    local code, out, err = run "version"
    assert.equals(0, code)
    assert.matches("^lubdub %d+%.%d+", out)
    assert.equals(1, lines(out))
    assert.equals("", err)
  end)
end)

describe("lubdub help", function()
  it("prints the usage on stdout, exit 0", function()
    for _, words in ipairs { "help", "--help" } do
      local code, out, err = run(words)
      assert.equals(0, code, words)
      assert.matches("[uU]sage", out)
      assert.matches("lubdub.*run.*script%.lua", out)
      assert.matches("version", out)
      assert.equals("", err)
    end
  end)

  it("answers to -h as well", function()
    local code, out = run "-h"
    assert.equals(0, code)
    assert.matches("[uU]sage", out)
  end)
end)

describe("output that cannot be written", function()
  local function full(words) return shell(("%s %s >/dev/full"):format(helper.command, words)) end

  it("is an error, exit 1", function()
    local texts = { "print 'x'", "io.write(('x'):rep(1 << 20))", "io.write 'x' io.flush()" }
    for _, how in ipairs { "0", "true, true" } do texts[#texts + 1] = ("io.write 'x' os.exit(%s)"):format(how) end
    for _, text in ipairs(texts) do
      local path = helper.file(text)
      local code, _, err = full("run " .. path)
      os.remove(path)
      assert.equals(1, code, text)
      assert.equals(1, lines(err))
      assert.matches("lubdub: ", err)
    end
  end)

  it("is an error of version and help too", function()
    for _, words in ipairs { "version", "help", "check scripts/policies/fixed.lua" } do
      local code, _, err = full(words)
      assert.equals(1, code, words)
      assert.equals(1, lines(err))
    end
  end)

  it("names the reason, or none", function()
    local path = helper.file "print 'x' io.open '/nonexistent'"
    local _, _, err = full("run " .. path)
    assert.is_nil(err:find "No such file")
    assert.is_nil(err:find "Input/output")
    assert.matches("lubdub: cannot write the output", err)
    os.remove(path)
    path = helper.file "io.write 'x'"
    _, _, err = full("run " .. path)
    assert.matches("lubdub: cannot write the output: No space left on device", err)
    os.remove(path)
  end)

  it("does not hide that the script failed", function()
    local path = helper.file "print 'x' error 'boom'"
    local code, _, err = full("run " .. path)
    os.remove(path)
    assert.equals(1, code)
    assert.matches("boom", err)
  end)

  it("does not matter to a script that writes nothing", function()
    local path = helper.file "local x = 1 return x"
    assert.equals(0, (full("run " .. path)))
    os.remove(path)
  end)
end)

describe("a deadlock", function()
  it("ends with 4, and says who waits for what, where and for how long", function()
    local code, out, err, path = script [[
local lub = require "lubdub"
print "before"
lub.chan(0, "never"):recv()]]
    assert.equals(4, code)
    assert.equals("before\n", out)
    assert.matches("deadlock", err)
    assert.matches("worker '?main", err)
    assert.matches("fiber '?main", err)
    assert.matches("recv[^\n]*never[^\n]*" .. path .. ":3", err)
    assert.matches("for %d[%d.]* ?%a*s%f[%A]", err)
  end)

  it("lists every fiber: receives, sends, selects, joins", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
local a, b, c = lub.chan(0, "apple"), lub.chan(0, "berry"), lub.chan(0, "cherry")
lub.go(function()
  a:send(1)
end)
lub.go(function()
  lub.select(b, c << 1)
end)
local f = lub.go(function()
  c:recv()
end)
lub.chan(0, "date"):recv()
return f]]
    -- the select's send meets the receive of cherry: those two fibers end, the others remain
    assert.equals(4, code)
    assert.matches("send[^\n]*apple[^\n]*" .. path .. ":4", err)
    assert.matches("recv[^\n]*date[^\n]*" .. path .. ":12", err)
    assert.is_nil(err:find "cherry")
    assert.matches(path .. ":3", err)
  end)

  it("lists every case of a select", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
lub.select(lub.chan(0, "apple"), nil, lub.chan(0, "berry") << 1)]]
    assert.equals(4, code)
    assert.matches("recv[^\n]*apple[^\n]*send[^\n]*berry[^\n]*" .. path .. ":2", err)
  end)

  it("of a select without cases ends with 4", function()
    assert.equals(4, (script "require 'lubdub'.select()"))
    assert.equals(4, (script "require 'lubdub'.select(nil, nil)"))
  end)

  it("is told behind what has failed, which may be why", function()
    local code, _, err = script [[
      local lub = require "lubdub"
      local answers = lub.chan()
      lub.spawn(function() error "boom" end, answers)
      answers:recv()]]
    assert.equals(4, code)
    assert.matches("boom.*deadlock", err)
  end)

  it("says of a select without cases that it waits for ever", function()
    local _, _, err = script "require 'lubdub'.select()"
    assert.matches("fiber 'main' idle, waits for ever for %d", err)
  end)

  it("shows the cycle of those who wait for each other", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
local f, g
f = lub.go(function()
  g:join()
end)
g = lub.go(function()
  f:join()
end)
f:join()]]
    assert.equals(4, code)
    assert.matches("join[^\n]*" .. path .. ":4", err)
    assert.matches("join[^\n]*" .. path .. ":7", err)
    assert.matches("cycle", err)
  end)

  it("shows the cycle of two locks taken in two orders, not one through who joins", function()
    local _, _, err = script [[
local lub = require "lubdub"
local a, b = lub.chan(1, "a"), lub.chan(1, "b")
local function transfer(from, to)
  from:send "taken"
  lub.yield()
  to:send "taken"
  to:recv()
  from:recv()
end
local one, two = lub.go(transfer, a, b), lub.go(transfer, b, a)
one:join()
two:join()]]
    assert.matches("\ncycle: fiber '2' %-> fiber '3' %-> fiber '2'\n", err)
  end)

  it("calls a main fiber so also where others join it", function()
    local code, _, err = script [[
local lub = require "lubdub"
local me = lub.self()
local done = me:done()
lub.go(function() me:join() end)
lub.go(function() done:recv() end)
local w = lub.spawn({ name = "other" }, function(done) done:recv() end, done)
w:join()]]
    assert.equals(4, code)
    local _, own = err:gsub("waits: join of fiber 'main' for", "")
    assert.equals(2, own)
    assert.matches("worker 'other'[^\n]*\n  fiber 'main' idle, waits: join of main of 'main' for", err)
    assert.matches("cycle: main of 'main' %-> main of 'other' %-> main of 'main'\n", err)
  end)

  it("shows no cycle where there is none", function()
    for _, body in ipairs {
      "lub.chan(0, 'never'):recv()",
      "lub.go(function() a:recv() end) a:recv()", -- who waits for the same does not help
      "lub.go(function() a:send(1) end) a:send(2)",
      "lub.go(function() a:recv() end) lub.go(function() a:recv() end) b:send(1)",
      "lub.go(function() a:recv() end):join()", -- who waits for the end will not bring it about
      "lub.go(function() a:recv() b:recv() end) lub.go(function() b:recv() a:recv() end) c:recv()",
      "local function take(a) a:recv() end lub.go(take, a, b) lub.go(take, a, b) " ..
        "lub.go(function(a, b) b:send(a and 1) end, a, b) c:recv()",
    } do
      local code, _, err = script("local lub = require 'lubdub' " ..
        "local a, b, c = lub.chan(0, 'a'), lub.chan(0, 'b'), lub.chan(0, 'c') " .. body)
      assert.equals(4, code)
      assert.is_nil(err:find "cycle", body .. "\n" .. err)
    end
  end)

  it("names the worker that cannot go on", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
local w = lub.spawn({ name = "stuck" }, function()
  lub.chan(0, "never"):recv()
end)
w:join()]]
    assert.equals(4, code)
    assert.matches("worker '?stuck", err)
    assert.matches("recv[^\n]*never[^\n]*" .. path .. ":3", err)
    assert.matches("worker '?main", err)
    assert.matches("join[^\n]*" .. path .. ":5", err)
  end)

  it("shows where a fiber waits inside a nested coroutine", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
local inner = coroutine.wrap(function()
  lub.chan(0, "never"):recv()
end)
inner()]]
    assert.equals(4, code)
    assert.matches("never[^\n]*" .. path .. ":3", err)
  end)

  it("of a send names the full channel", function()
    local code, _, err, path = script [[
local lub = require "lubdub"
local ch = lub.chan(2, "full")
while true do
  ch:send(true)
end]]
    assert.equals(4, code)
    assert.matches("send[^\n]*full[^\n]*" .. path .. ":4", err)
  end)

  it("is none while a timer can still act", function()
    for _, text in ipairs {
      "lub.after(0.02, function() ch:send 'late' end) print(ch:recv())",
      "print(lub.after(0.02):recv() and 'late')",
      "local t = lub.tick(0.01) t:recv() t:recv() print 'late'",
      "print(ch:recv(0.02) == nil and 'late')",
      "lub.go(function() lub.sleep(0.02) ch:send 'late' end) print(ch:recv())",
      "lub.spawn(function(c) lub.sleep(0.02) c:send 'late' end, ch) print(ch:recv())",
    } do
      local code, out = script("local lub = require 'lubdub' local ch = lub.chan() " .. text)
      assert.equals(0, code, text)
      assert.equals("late\n", out)
    end
  end)

  it("is none while a worker still runs", function()
    local code, out = script [[
      local lub = require "lubdub"
      local ch = lub.chan()
      lub.spawn(function(c)
        local t = os.clock() while os.clock() - t < 0.05 do end
        c:send "busy"
      end, ch)
      lub.spawn(function(c) os.execute "sleep 0.1" c:send "c call" end, ch)
      print(ch:recv())
      print(ch:recv())
    ]]
    assert.equals(0, code)
    assert.matches("busy", out)
    assert.matches("c call", out)
  end)

  it("is found though timers exist that nobody refers to", function()
    local code = script [[
      local lub = require "lubdub"
      do lub.tick(0.01) lub.after(1000) end
      collectgarbage() collectgarbage()
      lub.chan(0, "never"):recv()
    ]]
    assert.equals(4, code)
  end)

  it("is found though a stopped timer is kept", function()
    local code = script [[
      local lub = require "lubdub"
      local t = lub.tick(0.01)
      t:stop()
      t:recv()
    ]]
    assert.equals(4, code)
  end)
end)

describe("Ctrl-C", function()
  it("cancels the script, runs its close handlers, and ends with 130", function()
    local code, out = signalled(prelude .. [[
      local g <close> = guard "closed"
      mark(ready)
      print(lub.sleep(1000))
    ]], "appears $1; kill -INT $pid")
    assert.equals(130, code)
    assert.equals("nil\tcancelled\nclosed\n", out)
  end)

  it("cancels every worker", function()
    local code, out = signalled(prelude .. [[
      local g <close> = guard "main closed"
      local started = lub.chan()
      local workers = {}
      for i = 1, 3 do
        workers[i] = lub.spawn(function(ch, n)
          local g <close> = guard("worker " .. n .. " closed")
          ch:send(true)
          lub.sleep(1000)
        end, started, i)
      end
      for i = 1, 3 do started:recv() end
      mark(ready)
      workers[1]:join()
    ]], "appears $1; kill -INT $pid")
    assert.equals(130, code)
    assert.matches("main closed", out)
    for i = 1, 3 do assert.matches("worker " .. i .. " closed", out) end
  end)

  it("is no deadlock and no error", function()
    local _, _, err = signalled(prelude .. [[
      lub.heart { policy = function() return "alive", 1 end } -- which brings the judge's worker
      mark(ready)
      lub.sleep(1000)]], "appears $1; kill -INT $pid")
    assert.equals("", err)
  end)

  it("ends with 130 also when the script then returns as if nothing were", function()
    local code, out = signalled(prelude .. [[
      mark(ready)
      for v in lub.tick(1000) do print(v) end
      print "went on"
    ]], "appears $1; kill -INT $pid")
    assert.equals(130, code)
    assert.equals("went on\n", out)
  end)

  it("twice ends a script that does not care, at once", function()
    local code = signalled(prelude .. [[
      mark(ready)
      while true do
        local _, why = lub.sleep(1000)
        if why == "cancelled" and not exists(second) then mark(second) end
      end
    ]], "appears $1; kill -INT $pid; appears $2; kill -INT $pid")
    assert.equals(130, code)
  end)

  it("again ends a script that only computes", function()
    local code = signalled(prelude .. "mark(ready) while true do pcall(function() while true do end end) end",
      "appears $1; insists INT")
    assert.equals(130, code)
  end)
end)

describe("SIGTERM", function()
  it("does the same, and ends with 143", function()
    local code, out, err = signalled(prelude .. [[
      local g <close> = guard "closed"
      mark(ready)
      print(lub.sleep(1000))
    ]], "appears $1; kill -TERM $pid")
    assert.equals(143, code)
    assert.equals("nil\tcancelled\nclosed\n", out)
    assert.equals("", err)
  end)

  it("kills what sits in a C call and does not heed it", function()
    local code = signalled(prelude .. "mark(ready) print(('a'):rep(3000):find(('.-'):rep(20) .. 'b'))",
      "appears $1; kill -TERM $pid")
    assert.equals(143, code)
  end)

  it("ends a script that only computes when it comes again", function()
    local code = signalled(prelude .. "mark(ready) while true do pcall(function() while true do end end) end",
      "appears $1; insists TERM")
    assert.equals(143, code)
  end)
end)

describe("SIGQUIT", function()
  it("prints what everybody does, and goes on", function()
    local code, out, err, path = signalled(prelude .. [[
lub.go(function()
  lub.chan(0, "inbox"):recv()
end)
local w = lub.spawn({ name = "helper" }, function()
  lub.chan(0, "orders"):recv()
end)
while w:state() ~= "idle" do lub.yield() end
mark(ready)
while not exists(third) do lub.sleep(0.01) end
print "went on"]], "appears $1; kill -QUIT $pid; shows inbox; shows orders; : >$3")
    assert.equals(0, code)
    assert.equals("went on\n", out)
    assert.matches("worker '?main", err)
    assert.matches("recv[^\n]*inbox[^\n]*" .. path .. ":%d+", err)
    assert.matches("worker '?helper", err)
    assert.matches("recv[^\n]*orders[^\n]*" .. path .. ":%d+", err)
  end)

  it("may come again and again, also to a script that only computes", function()
    local code, out, err = signalled(prelude .. [[
mark(ready)
while not exists(third) do end
print "went on"]], "appears $1; kill -QUIT $pid; shows ^worker.*main; kill -QUIT $pid; shows ^worker.*main 2; : >$3")
    assert.equals(0, code)
    assert.equals("went on\n", out)
    assert.equals(2, select(2, ("\n" .. err):gsub("\nworker[^\n]*main", "")))
  end)

  it("tells who computes, who waits for a turn and who waits for somebody else", function()
    local code, _, err, path = signalled(prelude .. [[
local helper = lub.spawn({ name = "helper" }, function()
  lub.chan(0, "orders"):recv()
end)
local sender = lub.spawn({ name = "sender" }, function()
  lub.chan(0, "answers"):send(1)
end)
while helper:state() ~= "idle" or sender:state() ~= "blocked_send" do lub.yield() end
mark(ready)
while not exists(third) do end]], "appears $1; kill -QUIT $pid; shows orders; shows answers; : >$3")
    assert.equals(0, code)
    assert.matches("worker 'main' %[busy%]", err)
    assert.matches("fiber 'main' busy at [^\n]*" .. path, err)
    assert.matches("worker 'helper' %[idle%]", err)
    assert.matches("worker 'sender' %[blocked_send%]", err)
  end)
end)

describe("a script in a stock Lua", function()
  local stock = helper.stock

  it("learns of a deadlock by an error, where it waits", function()
    local code, _, err, path = stock [[
local lub = require "lubdub"
lub.chan(0, "never"):recv()]]
    assert.equals(1, code)
    assert.matches("deadlock", err)
    assert.matches(path .. ":2:", err)
  end)

  it("does not find in that error the judge, for whom nobody waits", function()
    local _, _, err = stock [[
local lub = require "lubdub"
lub.heart { interval = 1, policy = function() return "alive", 1 end }
lub.chan(0, "never"):recv()]]
    assert.matches("recv on 'never'", err)
    assert.is_nil(err:find("judge", 1, true), err)
  end)

  it("finds in that error who waits for what, where, and the circle", function()
    local code, _, err, path = stock [[
local lub = require "lubdub"
local a, b = lub.chan(0, "a"), lub.chan(0, "b")
lub.go(function() a:send(b:recv()) end)
lub.spawn({ name = "other" }, function(c) c:recv() end, lub.chan(0, "c"))
b:send(a:recv())]]
    assert.equals(1, code)
    local _, from = err:find(path .. ":5: deadlock: every fiber waits, and nothing can wake one\n", 1, true)
    assert.is_number(from, err)
    local waits = err:sub(from + 1, err:find("\nstack traceback", 1, true)):gsub("%d%.%d+ s", "T")
      :gsub("memory=%d+", "memory=N"):gsub(path, "X")
    local main, other, cycle = waits:match "^(.-)(worker 'other'.-\n  .-\n)(.*)$"
    assert.same({ [[
worker 'main' [idle] fibers=2 memory=N KiB
  fiber 'main' idle, waits: recv on 'a' for T at X:5
  fiber '2' idle, waits: recv on 'b' for T at X:3, started at X:3
]], [[
worker 'other' [idle] fibers=1 memory=N KiB
  fiber 'main' idle, waits: recv on 'c' for T at X:4
]], "cycle: main of 'main' -> fiber '2' -> main of 'main'\n" }, { main, other, cycle })
  end)

  it("is said to compute, to sleep in a C call or to wait, as the case may be", function()
    local look = [[
      local lub = require "lubdub"
      local function look(name, state)
        while lub.workers()[1]:state() ~= state do lub.yield() end
        lub.dump()
        os.exit(0)
      end
      local function goes_on(state) return lub.spawn(look, "main", state) end
    ]]
    local fifo = helper.file()
    os.remove(fifo)
    assert(os.execute("mkfifo " .. fifo))
    for text, body in pairs {
      ["%[busy%] no answer: it computes\n"] = "goes_on 'busy' while true do end",
      ["%[in_c%] no answer: in a C call\n"] = ("goes_on 'in_c' io.open '%s'"):format(fifo),
      ["%[idle%] fibers=1 [^\n]*\n  fiber 'main' idle, waits: join"] = "goes_on 'idle':join()",
    } do
      local code, _, err = stock(look .. body)
      assert.equals(0, code)
      assert.matches("worker 'main' " .. text, err)
    end
    os.remove(fifo)
  end)

  it("with a heart that dies while it computes is not said to be inside a C call", function()
    local code, out = stock [[
      local lub = require "lubdub"
      local h = lub.heart { limit = 0.05 }
      lub.spawn(function(h)
        print(h:verdicts():recv().traceback)
        os.exit(0)
      end, h)
      while true do end
    ]]
    assert.same({ 0, "no traceback: nobody interrupts a host's own Lua\n" }, { code, out })
  end)

  it("may catch that error and go on", function()
    local code, out = stock [[
      local lub = require "lubdub"
      local ch = lub.chan(0, "never")
      local ok, why = pcall(ch.recv, ch)
      print(ok, why:match "deadlock")
      lub.go(function() ch:send "on" end)
      print(ch:recv())
    ]]
    assert.equals(0, code)
    assert.equals("false\tdeadlock\non\n", out)
  end)

  it("ends though fibers wait and workers run", function()
    local code, out, err = stock [[
      local lub = require "lubdub"
      for _ = 1, 100 do lub.go(function() lub.chan():recv() end) end
      lub.go(function() lub.sleep(1000) end)
      lub.spawn(function() lub.sleep(1000) end)
      lub.spawn(function() while true do end end)
      lub.tick(0.001)
      lub.yield()
      print "done"
    ]]
    assert.equals("", err)
    assert.equals("done\n", out)
    assert.equals(0, code)
  end)

  it("finds each part of the module by itself", function()
    for name, use in pairs {
      backoff = [[print(part.new { backoff = "constant", base = 7 }:next())]],
      limit = [[print(part.new { max = 1 }:restart(0) and 7)]],
      options = [[print(part("x", { n = 7 }, { n = part.count() }).n)]],
      random = [[print(part(1)() < 1 and 7)]],
      steward = [[print(part { generator = { 7 }, work = function(n) return n end }:results():recv())]],
      supervisor = [[local none = { start = function() end, restart = "temporary" }
        print(select("#", part { children = { none } }:join()) and 7)]],
      trial = [[local t = part.new {} t:unit(7, { "any id" }) print(t:look(7).beats * 7)]],
    } do
      local code, out, err = stock(("local part = require 'lubdub.%s' %s"):format(name, use))
      assert.same({ name, 0, "" }, { name, code, err })
      assert.matches("^7", out)
    end
  end)
end)

describe("a heart that dies", function()
  it("unwatched in the script itself ends it with 3, and shows where it was", function()
    local code, out, err = script [[
      local lub = require "lubdub"
      lub.heart { name = "pump", interval = 0.05, limit = 0.1 }
      print "before"
      while true do end
    ]]
    assert.equals(3, code)
    assert.equals("before\n", out)
    assert.matches("lubdub: heart 'pump' died: busy for 0%.1%d* s without a sign of life\nstack traceback:\n", err)
    assert.matches(":4: in main chunk", err)
  end)

  it("in a worker that nobody watches is told, and ends the command with 3", function()
    local code, _, err = script [[
      local lub = require "lubdub"
      local told = lub.chan(1)
      lub.spawn(function(told)
        local h = require "lubdub".heart { name = "w", interval = 0.05, limit = 0.1 }
        while h:stats().verdict ~= "dead" do end
        told:send(true)
        while true do end -- who waits has come back
      end, told)
      told:recv()
    ]]
    assert.equals(3, code)
    assert.matches("heart '?w?'? ?died", err)
  end)

  it("and came back, or was watched, is no failure", function()
    local code, _, err = script [[
      local lub = require "lubdub"
      local h = lub.heart { name = "h", interval = 0.05, limit = 0.1 }
      local verdicts = h:verdicts()
      while #verdicts == 0 do end
      assert(verdicts:recv().verdict == "dead")
    ]]
    assert.same({ 0, "" }, { code, err })
  end)
end)

describe("--record", function()
  it("writes what becomes of hearts, a line of JSON each, that replay reads", function()
    local path = os.tmpname()
    local file = helper.file [[
      local lub = require "lubdub"
      local h = lub.heart { name = 'a "b"', interval = 0.25 }
      h:unit "one"
      h:beat()
      lub.sleep(0.001)
      h:rest()
      h:close()
    ]]
    local code, out, err = helper.run(("run --record %s %s"):format(path, file))
    assert.same({ 0, "", "" }, { code, out, err })
    local text = helper.read(path):gsub('"t":%d+%.%d+', '"t":T')
    assert.equals([[
{"t":T,"heart":"a \"b\"","id":1,"event":"open","interval":0.25}
{"t":T,"heart":"a \"b\"","id":1,"event":"unit","unit":"one"}
{"t":T,"heart":"a \"b\"","id":1,"event":"beat"}
{"t":T,"heart":"a \"b\"","id":1,"event":"park","state":"idle"}
{"t":T,"heart":"a \"b\"","id":1,"event":"wake"}
{"t":T,"heart":"a \"b\"","id":1,"event":"rest"}
{"t":T,"heart":"a \"b\"","id":1,"event":"close"}
]], text)
    code, out, err = helper.run(("replay %s scripts/policies/fixed.lua limit=1"):format(path))
    assert.same({ 0, "" }, { code, err })
    assert.matches('a "b"', out)
    os.remove(path)
    os.remove(file)
  end)

  it("that cannot be written is an error", function()
    local code, _, err = helper.run "run --record /no/such/file nothing.lua"
    assert.equals(1, code)
    assert.equals("lubdub: /no/such/file: No such file or directory\n", err)
    assert.equals(2, (helper.run "run --record"))
  end)
end)
