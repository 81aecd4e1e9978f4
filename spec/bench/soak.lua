-- `make soak`: 10,000 healthy hearts on four workers, while two other processes keep the CPUs busy and this one is
-- stopped for 5 s again and again. Not one of them may be called anything but alive. Argument: seconds (600).
local lub = require "lubdub"

local seconds = tonumber(arg[1]) or 600
local workers, each, stop_for = 4, 2500, 5
local period = math.max(2 * stop_for, seconds / 10)
local policies = (arg[0]:match("^(.*)/") or ".") .. "/../../scripts/policies/"

-- Its standard input ends with this process, and so do the hogs.
local disturb = [[
trap 'kill -CONT $PPID; kill $pids' EXIT
(while :; do :; done) & pids=$!
(while :; do :; done) & pids="$pids $!"
(while sleep %g; do kill -STOP $PPID; sleep %g; kill -CONT $PPID; done) & pids="$pids $!"
read -r line
]]

local function keep_alive(count, path, told)
  local inner = require "lubdub"
  local gate = inner.chan()

  local function compute(s)
    local till = inner.now() + s
    while inner.now() < till do end
  end

  local kinds = {
    function(heart) -- it beats
      while true do
        inner.sleep(0.05 + math.random())
        assert(heart:beat())
      end
    end,
    function(heart) -- it has units of work
      for i = 1, math.huge do
        inner.sleep(math.random())
        heart:unit(i)
        inner.sleep(math.random() / 2)
        compute(2e-5)
        heart:rest()
      end
    end,
    function() gate:recv() end, -- it waits
  }

  local judged = {
    { interval = 0.2 },
    { interval = 0.5 },
    { interval = 0.5, policy = path .. "fixed.lua", policy_opts = { limit = 0.5 } },
    { interval = 0.5, policy = path .. "unit_deadline.lua", policy_opts = { limit = 2 } },
  }

  local function watch(heart)
    for v in heart:verdicts() do if v.verdict ~= "alive" then told:send(v) end end
  end

  local function live(i)
    local options = judged[i % #judged + 1]
    local heart = inner.heart { name = ("%s/%d"):format(inner.self():name(), i), interval = options.interval,
      policy = options.policy, policy_opts = options.policy_opts }
    inner.go(watch, heart)
    kinds[i % #kinds + 1](heart)
  end

  local function toil() -- it never waits
    local heart = inner.heart { interval = 0.2 }
    inner.go(watch, heart)
    while true do
      compute(0.002)
      heart:beat()
    end
  end

  for i = 1, count - 1 do
    inner.go(live, i)
    if i % 25 == 0 then inner.sleep(0.01) end
  end
  inner.go(toil)
  gate:recv()
end

local told, all, ends = lub.chan(1024), {}, {}
for i = 1, workers do
  all[i] = lub.spawn({ name = "hearts" .. i }, keep_alive, each, policies, told)
  ends[i] = all[i]:done()
end
local shell = assert(io.popen(disturb:format(period - stop_for, stop_for), "w"))
local bad, start, over = 0, lub.now(), lub.after(seconds)
while true do
  local from, v = lub.select(told, over, table.unpack(ends))
  if from == over then break end
  if from ~= told then error "a worker has ended" end
  bad = bad + 1
  print(("after %.3f s, %s: %s, %s for %.3f s, %.3f s without a sign of life, unit %s for %s s; %s"):format(
    v.time - start, v.heart, v.verdict, v.state, v.state_age, v.age, v.unit, v.unit_age, v.traceback))
end
local j = lub.judge()
shell:close()
print(("%d hearts for %g s, %d questions: %d verdicts other than alive"):format(j.hearts, seconds, j.asked, bad))
print(("%d stalls of the host, %.3f s together; %d verdicts put off"):format(j.stalls, j.stalled, j.blamed))
for i = 1, workers do all[i]:kill() end
if bad > 0 then error "healthy hearts were called silent" end
