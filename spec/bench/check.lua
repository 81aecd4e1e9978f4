-- `make bench-check`: do the basic operations still take as many instructions as recorded in baseline.json? Counted by
-- callgrind, which no other program on the machine disturbs. `--record` (make bench-baseline) records them anew.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path

local process = require "process"
local quote = process.quote

-- With the seed of Lua's string hashes differs which strings share a bucket, and a count by 0.5 % (one standard
-- deviation). The seed is a function of the time, which same_time.c fixes, and of addresses, which each build moves:
-- hence the mean over some of them.
local SEEDS <const> = 5
local LIMIT <const> = 10 -- % of growth
-- ... of what other tools have built. gcc -O1 to -O3 and -Os, clang, a Lua built by either: all within 9 % on x86-64.
local FOREIGN_LIMIT <const> = 25

local operations = {
  { id = "round_trip_fibers", n = 10000, title = "rendezvous round trip, two fibers" },
  { id = "round_trip_workers", n = 10000, title = "rendezvous round trip, two workers" },
  { id = "buffered", n = 30000, title = "buffered send and receive" },
  { id = "select_8", n = 8000, title = "select over 8" },
  { id = "spawn_fiber", n = 8000, title = "spawn and join a fiber" },
  { id = "timer", n = 10000, title = "timer, create and stop" },
  { id = "beat", n = 50000, title = "a heart's beat" },
  { id = "table_to_worker", n = 5000, title = "small table to a worker" },
}
local tools = { "processor", "compiler", "flags", "libc", "lua" }

local baseline_path = here .. "/baseline.json"
local engine = os.getenv("LUBDUB") or here .. "/../../build/lubdub"
local same_time = engine:gsub("[^/]*$", "same_time.so")
local counts = here .. "/../../build/counts" -- what callgrind writes stays there, for callgrind_annotate

local function give_up(...)
  io.stderr:write("bench-check: ", ...)
  io.stderr:write("\n")
  os.exit(1)
end

local function first_line(command)
  local text, ok = process.output(command)
  return ok and text:match("[^\n]+") or "unknown"
end

--- Releases, without what a distribution adds to their names.
local function made_with()
  local cc = os.getenv("CC") or "cc"
  local compiler = first_line(cc .. " --version")
  return {
    processor = first_line("uname -m"),
    compiler = (compiler:find("clang") and "clang " or "gcc ") .. (compiler:match("%d+%.%d[%d.]*") or "unknown"),
    flags = os.getenv("CFLAGS") or "unknown",
    libc = first_line("getconf GNU_LIBC_VERSION"),
    lua = first_line(quote(engine) .. " version"):match("Lua (%S+)") or "unknown",
  }
end

-- ---- counting ----

-- Counted is what runs in `carry` (core/carrier.c): the carriers, not the watcher, which looks in real time, nor
-- handlers of signals. The second dump is of what ran between the two calls of os.clock.
local function start(op, seed)
  local file = ("%s/%s-%d"):format(counts, op.id, seed)
  os.remove(file .. ".2")
  local words = { "env LUBDUB_CARRIERS=1 SAME_TIME=" .. seed, "LD_PRELOAD=" .. quote(same_time),
    "timeout 100 valgrind --tool=callgrind --toggle-collect=carry --dump-before=clock",
    quote("--callgrind-out-file=" .. file), quote(engine), "run", quote(here .. "/counted.lua"), op.id, op.n, "2>&1" }
  return { op = op, file = file .. ".2", pipe = assert(io.popen(table.concat(words, " "))) }
end

local function finish(run)
  local text = run.pipe:read("a")
  local ok, file = run.pipe:close(), io.open(run.file)
  local total = ok and file and tonumber(file:read("a"):match("\ntotals: (%d+)"))
  if file then file:close() end
  if not total then give_up(run.op.title, ": was not counted:\n", text) end
  if total == 0 then give_up("callgrind finds no function `carry` in ", engine, ": has it been stripped?") end
  run.op.total = (run.op.total or 0) + total
end

-- As many at a time as there are CPUs.
local function count_all()
  local cpus, running = tonumber(first_line("nproc")) or 2, {}
  process.output("mkdir -p " .. quote(counts))
  for seed = 1, SEEDS do
    for _, op in ipairs(operations) do
      if #running >= cpus then finish(table.remove(running, 1)) end
      running[#running + 1] = start(op, seed)
    end
  end
  for _, run in ipairs(running) do finish(run) end
  for _, op in ipairs(operations) do op.count = (op.total / op.n / SEEDS + 0.5) // 1 | 0 end
end

-- ---- the baseline: two flat objects of strings and numbers ----

local function object(name, members)
  return ('  "%s": {\n    %s\n  }'):format(name, table.concat(members, ",\n    "))
end

local function record(made)
  local with, numbers = {}, {}
  for i, tool in ipairs(tools) do with[i] = ('"%s": "%s"'):format(tool, made[tool]) end
  for i, op in ipairs(operations) do
    numbers[i] = ('"%s": %d'):format(op.id, op.count)
    print(("%-36s %12d"):format(op.title, op.count))
  end
  local file = assert(io.open(baseline_path, "w"))
  file:write("{\n", object("made_with", with), ",\n", object("instructions", numbers), "\n}\n")
  file:close()
end

local function read_baseline()
  local file = io.open(baseline_path)
  if not file then give_up("no ", baseline_path, ": make bench-baseline records one") end
  local text, baseline = file:read("a"), {}
  file:close()
  for name, value in text:gmatch('"([%w_]+)": "?([^"{,\n]+)') do baseline[name] = tonumber(value) or value end
  return baseline
end

-- ---- comparing ----

-- Other tools make other code: of that only a gross growth is the engine's; and another processor's instructions are
-- other ones.
local function choose_limit(made, baseline)
  local limit = LIMIT
  for _, tool in ipairs(tools) do
    local recorded = baseline[tool] or "unknown"
    if made[tool] ~= recorded then
      print(("%s: here %s, recorded %s"):format(tool, made[tool], recorded))
      limit = FOREIGN_LIMIT
    end
  end
  if made.processor ~= baseline.processor then
    print("so nothing is compared; make bench-baseline records what is counted here")
    return math.huge
  end
  if limit ~= LIMIT then print(("so only what grew by more than %d %%, not %d %%, fails"):format(limit, LIMIT)) end
  return limit
end

--- -> growth in %, why it failed; nil each where there is none
local function judge(op, before, limit)
  if not before then return nil, op.title .. ": is not in baseline.json; make bench-baseline records it" end
  local growth = (op.count / before - 1) * 100
  if growth <= limit then return growth end
  return growth, ("%s: %d instructions, %d recorded: %.1f %% more"):format(op.title, op.count, before, growth)
end

local function compare(baseline, limit)
  local failures, won = {}, false
  print(("%-36s %12s %9s %9s"):format("operation", "instructions", "baseline", "change"))
  for _, op in ipairs(operations) do
    local before = baseline[op.id]
    local growth, why = judge(op, before, limit)
    local change = growth and ("%+.1f %%"):format(growth) or "-"
    print(("%-36s %12d %9s %9s"):format(op.title, op.count, before or "-", change))
    failures[#failures + 1] = why
    won = won or growth and growth < -LIMIT
  end
  for _, why in ipairs(failures) do print("FAILED  " .. why) end
  if #failures > 0 then print("where they go: callgrind_annotate --threshold=100 build/counts/OPERATION-1.2") end
  if won then print("make bench-baseline records what was won, so that it is not lost unseen") end
  print(("%d passed, %d failed"):format(#operations - #failures, #failures))
  return #failures == 0
end

if not process.exists("valgrind") then
  give_up("no valgrind: apt-get install valgrind, dnf install valgrind, apk add valgrind")
end
for _, file in ipairs { engine, same_time } do
  if not process.exists(file) then give_up("no ", file, ": make bench-check builds it") end
end
local made = made_with()
if arg[1] == "--record" then
  count_all()
  record(made)
else
  local baseline = read_baseline()
  count_all()
  if not compare(baseline, choose_limit(made, baseline)) then os.exit(1) end
end
