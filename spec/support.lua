--- Specs that may hang or crash run as scripts of their own: the body of a Lua function is cut out of its
--- file (so editors and luacheck see code, not strings) and run at the same line numbers in a new process.
--- Such a body may use the locals of PRELUDE and globals, nothing else of its file.
local support = {}

local PRELUDE = [[local lub, support = require "lubdub", require "spec.support"; ]]
  .. [[local same, eventually, refused = support.same, support.eventually, support.refused; ]]
local command = os.getenv "LUBDUB" or "build/lubdub"
local lua = os.getenv "LUA" or "lua5.4"

local function show(v)
  if type(v) == "string" then return ("%q"):format(v) end
  if type(v) ~= "table" or getmetatable(v) then return tostring(v) end
  local parts = {}
  for k, x in pairs(v) do parts[#parts + 1] = "[" .. show(k) .. "]=" .. show(x) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function alike(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" or getmetatable(a) or getmetatable(b) then return false end
  for k, v in pairs(a) do if not alike(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

--- Raises unless both are alike, tables in depth.
function support.same(expected, actual)
  if alike(expected, actual) then return end
  error(("expected %s, got %s"):format(show(expected), show(actual)), 2)
end

--- Raises unless fn(...) raises an error that has `text` in it. Gives the error.
function support.refused(text, fn, ...)
  local ok, why = pcall(fn, ...)
  if ok then error(("expected an error with %q, got none"):format(text), 2) end
  if not tostring(why):find(text, 1, true) then
    error(("expected an error with %q, got %s"):format(text, show(why)), 2)
  end
  return why
end

--- Asks again, at short intervals, until fn is true; for what no channel can tell. Raises after `limit` seconds.
function support.eventually(fn, limit)
  local lub = require "lubdub"
  local last = lub.now() + (limit or 10)
  while not fn() do
    if lub.now() > last then error("it never came true", 2) end
    lub.sleep(0.002)
  end
end

--- A value that calls fn when its scope is left: local a <close> = support.closing(fn).
function support.closing(fn) return setmetatable({}, { __close = fn }) end

--- Resident memory of this process in bytes, or nil where the system does not say.
function support.resident()
  local f = io.open "/proc/self/statm"
  if not f or (os.getenv "SAN" or "") ~= "" then return nil end -- a sanitizer keeps what is freed
  local pages = f:read "n" and f:read "n"
  f:close()
  return pages * 4096
end

local function lines_of(fn)
  local info = debug.getinfo(fn, "S")
  local lines, n = {}, 0
  for line in io.lines(info.source:sub(2)) do
    n = n + 1
    if n > info.linedefined and n < info.lastlinedefined then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n"), info.linedefined
end

--- A file with this text; the name is the caller's to remove.
function support.file(text)
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

--- A C call that lasts until it is let go: its line for `os.execute`, and a function that lets it return, once. What
--- is left when its test has failed ends by itself.
function support.blocking_call()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkfifo " .. path))
  return ("exec timeout 60 cat %s >/dev/null 2>&1"):format(path), function()
    assert(io.open(path, "w")):close() -- waits until the call has begun to read
    os.remove(path)
  end
end

local function text_of(fn, as_fiber)
  local body, before = lines_of(fn)
  if as_fiber then
    return PRELUDE .. "local function body()" .. ("\n"):rep(before) .. body
      .. "\nend local ok, why = lub.go(function() body() return true end):join() assert(ok, why) print 'fine'\n"
  end
  return PRELUDE .. ("\n"):rep(before) .. body .. "\nprint 'fine'\n"
end

--- Runs the body of fn as a script. opts: host ("lubdub" or "lua"), carriers, timeout, env, as_fiber, args.
--- Gives the exit code, and stdout and stderr in one text.
function support.run(fn, opts)
  opts = opts or {}
  local path = support.file(text_of(fn, opts.as_fiber))
  local program = opts.host == "lua" and lua or command .. " run"
  local carriers = opts.carriers and "LUBDUB_CARRIERS=" .. opts.carriers or ""
  local p = assert(io.popen(("%s %s timeout -k 1 %d %s %s %s </dev/null 2>&1; echo \"code $?\""):format(
    carriers, opts.env or "", opts.timeout or 20, program, path, opts.args or "")))
  local all = p:read "a"
  p:close()
  os.remove(path)
  local text, code = all:match "^(.*)code (%d+)\n$"
  return tonumber(code), text
end

local function succeeds(fn, opts)
  local code, text = support.run(fn, opts)
  if code == 0 and text:match "fine\n$" then return end
  if code == 124 or code == 137 then text = text .. "(it hangs)" end
  error(("exit %d: %s"):format(code, text), 0)
end

local function fill(place, opts)
  local carriers = opts.carriers or place.carriers
  return { host = place.host, as_fiber = place.as_fiber, timeout = opts.timeout, carriers = carriers }
end

--- Makes three words like busted's `it`, each spec a process of its own.
---   everywhere  on the main thread of a stock Lua, in a fiber there, in a worker
---   in_fibers   for what only fibers can do: in a fiber of a stock Lua, in one of a worker
---   in_worker   one spec, in a worker alone
--- Each takes a sentence, a function, and opts: timeout, carriers.
function support.words(it)
  local main = { "on the main thread", host = "lua" }
  local fiber = { "in a fiber", host = "lua", as_fiber = true }
  local worker = { "in a worker", host = "lubdub", carriers = 1 }
  local worker_fiber = { "in a worker's fiber", host = "lubdub", as_fiber = true, carriers = 1 }
  local function word(places)
    return function(sentence, fn, opts)
      for _, place in ipairs(places) do
        local title = #places > 1 and sentence .. ", " .. place[1] or sentence
        it(title, function() succeeds(fn, fill(place, opts or {})) end)
      end
    end
  end
  return word { main, fiber, worker }, word { fiber, worker_fiber }, word { { "", host = "lubdub" } }
end

--- For stress scripts: a seed (SEED=n replays the choices, not the schedule), `check(sentence, ok)`, and
--- `finish()`, which prints the count last and raises if anything failed.
function support.tally()
  local tally = { seed = tonumber(os.getenv "SEED") or os.time() * 1000 + math.random(0, 999), passed = 0, failed = 0 }
  math.randomseed(tally.seed)
  function tally.check(sentence, ok, seen)
    if ok then
      tally.passed = tally.passed + 1
    else
      tally.failed = tally.failed + 1
      print(("FAILED: %s%s"):format(sentence, seen and ": " .. tostring(seen) or ""))
    end
  end
  function tally.finish()
    if tally.failed > 0 then print(("again: SEED=%d lubdub run %s"):format(tally.seed, arg and arg[0] or "?")) end
    print(("%d passed, %d failed"):format(tally.passed, tally.failed))
    if tally.failed > 0 then error("stress failed", 0) end
  end
  return tally
end

return support
