-- Many schedules: which, how many, what a failure shows; and that planted bugs are found.
local lub = require "lubdub"
local branches = require "lubdub.branches"
local helper = require "spec.bindings.helper"
local sim = require "lubdub.sim"
local support = require "spec.support"
local explore, same = lub.explore, support.same

--- The error of an exploration, which must fail.
local function failure(opts, body)
  local ok, why = pcall(explore.run, opts, body)
  assert(not ok, "it did not fail: " .. tostring(why and why.text))
  return tostring(why)
end

local function says(text, ...)
  for _, part in ipairs { ... } do
    assert(tostring(text):find(part, 1, true), ("expected: %s\ngot: %s"):format(part, text))
  end
end

local function size(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

--- A body in which `fibers` do `steps` operations each; the order goes into the set.
local function interleaved(fibers, steps, seen)
  return function()
    local order, all = {}, {}
    for i = 1, fibers do
      local own = lub.chan(steps)
      all[i] = lub.go(function()
        for _ = 1, steps do
          own:send(1)
          order[#order + 1] = i
        end
      end)
    end
    for i = 1, fibers do all[i]:join() end
    seen[table.concat(order)] = true
  end
end

local function lost_update()
  local n, fibers = 0, {}
  for i = 1, 2 do
    local own = lub.chan(2, "log")
    fibers[i] = lub.go(function()
      local was = n
      own:send(was)
      n = was + 1
    end)
  end
  for i = 1, 2 do fibers[i]:join() end
  assert(n == 2, "lost")
end

describe("explore.run", function()
  it("makes as many runs as it is asked for, and one more to check the first", function()
    local runs = 0
    local found = explore.run({ runs = 20, seed = 5 }, function() runs = runs + 1 end)
    same(21, runs)
    same({ runs = 20, complete = false, text = "20 runs (portfolio, seed 5)" }, found)
    runs = 0
    explore.run(function() runs = runs + 1 end)
    same(201, runs)
  end)

  it("begins with the order of the queues, then tries others", function()
    local seen = {}
    explore.run({ runs = 1 }, interleaved(3, 2, seen))
    same({ ["112233"] = true }, seen)
    explore.run({ runs = 200, strategy = "random" }, interleaved(3, 2, seen))
    assert(size(seen) > 40, size(seen))
  end)

  it("has every strategy by itself", function()
    for _, strategy in ipairs { "first", "random", "pct", "sticky" } do
      local seen = {}
      local found = explore.run({ runs = 50, seed = 1, strategy = strategy }, interleaved(3, 2, seen))
      same(("50 runs (%s, seed 1)"):format(strategy), found.text)
      assert((size(seen) > 1) == (strategy ~= "first"), strategy)
    end
  end)

  it("finds the same with the same seed", function()
    same(failure({ seed = 3, shrink = false }, lost_update), failure({ seed = 3, shrink = false }, lost_update))
  end)

  it("raises what is pending at once", function()
    local pending = setmetatable({ message = "later" }, { __type = "pending" })
    local runs = 0
    local ok, why = pcall(explore.run, function()
      runs = runs + 1
      error(pending)
    end)
    assert(not ok and why == pending and why.message == "later")
    same(1, runs)
  end)

  it("refuses options that make no sense", function()
    for _, bad in ipairs { 0, -1, 1.5, math.huge, "3" } do
      helper.raises("explore.run: runs: expected a whole number above 0, got ", explore.run, { runs = bad }, print)
    end
    helper.raises("explore.run: runs: expected ", explore.run, { runs = helper.nan }, print)
    helper.raises("explore.run: preemptions: expected a whole number, not negative, got -1", explore.run,
      { strategy = "exhaustive", preemptions = -1 }, print)
    helper.raises("explore.run: preemptions: expected strategy 'exhaustive' beside it, got 2", explore.run,
      { preemptions = 2 }, print)
    helper.raises("explore.run: strategy: expected one of portfolio, ", explore.run, { strategy = "dfs" }, print)
    helper.raises("explore.run: shrink: expected a boolean, got 1", explore.run, { shrink = 1 }, print)
  end)
end)

describe("a run checks itself", function()
  --- A body that makes a choice more in its n-th run.
  local function unsteady(n)
    local runs = 0
    return function()
      runs = runs + 1
      local a = lub.go(function() end)
      if runs == n then lub.go(function() end):join() end
      a:join()
    end
  end

  it("in run 1, which is made twice: the first choice that differs", function()
    local why = failure({ seed = 9 }, unsteady(2))
    says(why, "explore_spec.lua:", "nondeterminism: two runs with seed 9 differ in choice ", "hint: it depends on")
    explore.run({ runs = 5 }, unsteady(3))
  end)

  it("also where there is no choice: in time and in steps", function()
    local runs = 0
    says(failure({}, function()
      runs = runs + 1
      lub.sleep(runs)
    end), "differ in no choice, but the first ended with success after ", " at +1.000000000 s, the second with success")
  end)

  it("shows both ends of a test that fails once", function()
    local runs = 0
    says(failure({}, function()
      runs = runs + 1
      if runs == 2 then error "only now" end
    end), "nondeterminism: ", "run 2: ", "only now")
  end)

  it("when one that failed does not fail again", function()
    local runs = 0
    says(failure({ runs = 50 }, function()
      runs = runs + 1
      if runs == 30 then error "once" end
    end), "nondeterminism: a run that failed does not fail so again", "once", "hint: ")
  end)
end)

describe("exhaustive", function()
  it("finds every order of two fibers with three operations each, and says that it is complete", function()
    local seen = {}
    local found = explore.run({ strategy = "exhaustive", preemptions = 9 }, interleaved(2, 3, seen))
    same(20, size(seen)) -- 6! / 3!^2
    same(true, found.complete)
    same(("complete up to 9 preemptions: %d schedules"):format(found.runs), found.text)
  end)

  it("without preemptions only lets fibers go on", function()
    local seen = {}
    local found = explore.run({ strategy = "exhaustive", preemptions = 0 }, interleaved(3, 2, seen))
    for order in pairs(seen) do assert(order:find "^(%d)%1(%d)%2(%d)%3$", order) end
    same(6, size(seen))
    says(found.text, "complete up to 0 preemptions: ")
  end)

  it("tries few preemptions first", function()
    local most = {}
    for n = 0, 2 do
      most[n] = explore.run({ strategy = "exhaustive", preemptions = n }, interleaved(2, 3, {})).runs
    end
    assert(most[0] < most[1] and most[1] < most[2], table.concat(most, " ", 0))
  end)

  it("says where it stopped", function()
    local runs = 0
    local found = explore.run({ strategy = "exhaustive", runs = 40 }, function()
      runs = runs + 1
      interleaved(4, 4, {})()
    end)
    same("stopped at 40 schedules of up to 2 preemptions", found.text)
    same(false, found.complete)
    same(42, runs) -- the first twice more, to be compared
  end)

  it("says what failed, and how it is replayed", function()
    local why = failure({ strategy = "exhaustive" }, lost_update)
    says(why, "lost", "schedule ", " of up to 2 preemptions failed", "replay: LUBDUB_REPLAY=lub1:first:")
  end)

  --- A tree of choices: packed(taken) -> the choices of the run that begins so.
  local function tree(shape)
    return function(taken)
      local parts, at = {}, shape
      local i = 0
      while at do
        i = i + 1
        local t = taken[i] or 1
        parts[i] = ("<BI4I4"):pack(at.switch and 1 or 0, #at, t - 1)
        at = at[t] or nil
      end
      return table.concat(parts)
    end
  end

  local function any_tree(depth, random)
    if depth == 0 then return false end
    local node = { switch = random(2) == 1 }
    for i = 1, random(3) + 1 do node[i] = random(4) > 1 and any_tree(depth - 1, random) end
    return node
  end

  local function leaves(node, preemptions, path, found)
    if preemptions < 0 then return found end
    if not node then
      found[path] = true
      return found
    end
    for i = 1, #node do
      leaves(node[i], preemptions - (node.switch and i > 1 and 1 or 0), path .. i, found)
    end
    return found
  end

  it("tries each schedule once, and no other, in any tree of choices", function()
    for seed = 1, 60 do
      local state = seed * 7919
      local function random(n)
        state = (state * 1103515245 + 12345) & 0x7fffffff
        return (state >> 12) % n + 1
      end
      local shape = any_tree(5, random) or { false, false, switch = true }
      local run = tree(shape)
      for bound = 0, 3 do
        local seen = {}
        local complete = branches.all(bound, function(prefix)
          local packed, path = run(prefix), {}
          for i = 1, #packed, 9 do path[#path + 1] = select(3, ("<BI4I4"):unpack(packed, i)) + 1 end
          local key = table.concat(path)
          assert(not seen[key], "twice: " .. key)
          seen[key] = true
          return packed
        end)
        same(true, complete)
        same(leaves(shape, bound, "", {}), seen)
      end
    end
  end)
end)

describe("a failing schedule", function()
  it("is shown as lanes, with each operation's line", function()
    local why = failure({ seed = 4 }, lost_update)
    says(why, "run ", "(", "seed 4) failed; of its ", " are left after ")
    assert(why:find "\n  t  +P +P%.1 +P%.2\n", why)
    assert(why:find "\n +0%.000 s +send log +[^\n]*explore_spec%.lua:%d+\n", why)
    assert(why:find "\n +0%.000 s +%(send log%) +[^\n]*explore_spec%.lua:%d+\n", why) -- it was about to
  end)

  it("is made small: of a race one preemption is left", function()
    for seed = 1, 10 do
      local before, after = failure({ seed = seed, strategy = "random" }, lost_update):match
        "of its (%d+) choices that were not the first (%d+) are left"
      assert(tonumber(after) <= 2 and tonumber(after) <= tonumber(before), seed)
    end
  end)

  it("fails in the same way when it is small", function()
    local why = failure({ seed = 2 }, function()
      local ch, n = lub.chan(1), 0
      local a = lub.go(function() ch:send(1) n = n + 1 end)
      local b = lub.go(function() ch:recv() n = n * 2 end)
      a:join()
      b:join()
      if n == 1 then error "one way" end
      if n == 2 then error "another way" end
    end)
    assert(why:find "one way" or why:find "another way")
    local token = why:match "LUBDUB_REPLAY=(%S+)"
    assert(#token < 120, token)
  end)

  it("is left as it was found where shrink = false says so", function()
    local why = failure({ seed = 4, shrink = false }, lost_update)
    assert(not why:find " are left after ", why)
    says(why, "  t ", "replay: ")
  end)

  it("is replayed by its token alone", function()
    local token = failure({ seed = 4 }, lost_update):match "LUBDUB_REPLAY=(%S+)"
    local ok, why = pcall(explore.run, { replay = token }, lost_update)
    assert(not ok)
    says(why, "lost", "replayed:", token)
    ok, why = pcall(sim.run, { replay = token }, lost_update)
    assert(not ok)
    says(why, "lost", "replayed:", token)
  end)
end)

-- Each planted bug passes in the order of the queues, and is found by the portfolio. The README's table shows how many
-- runs each strategy takes, the median of 21 seeds.
describe("planted", function()
  local strategies = { "portfolio", "random", "pct", "sticky", "exhaustive" }
  local RUNS, SEEDS = 500, 21

  local function runs_until_found(strategy, seed, body)
    local opts = { strategy = strategy, runs = RUNS, seed = seed, shrink = false }
    local ok, why = pcall(explore.run, opts, body)
    if ok then return math.huge end
    why = tostring(why)
    return tonumber(why:match "run (%d+) of %d+ %(" or why:match "schedule (%d+) of up to") or error(why)
  end

  local function median(strategy, body)
    local found = {}
    for seed = 1, SEEDS do found[seed] = runs_until_found(strategy, seed, body) end
    table.sort(found)
    return found[(SEEDS + 1) // 2], found[SEEDS]
  end

  --- What the README says: strategy -> runs.
  local function shown(name)
    local row = helper.read "README.md":match("\n| [^\n|]*%[" .. name .. "%]%([^\n|]*(|[^\n]*)\n")
    assert(row, "README.md has no row for " .. name)
    local cells, i = {}, 0
    for cell in row:gmatch "|%s*([^|]-)%s*%f[|]" do
      i = i + 1
      cells[strategies[i] or "rest"] = cell == "–" and math.huge or tonumber(cell)
    end
    return cells
  end

  for _, name in ipairs { "lost_update", "lost_wakeup", "double_close", "starvation", "abba", "missed_pulse" } do
    local body = dofile("spec/bindings/planted/" .. name .. ".lua")

    it(name .. " is not found by a run alone in the order of the queues", function()
      sim.run({ strategy = "first" }, body)
    end)

    it(name .. " is found by the portfolio, in about as many runs as the README says by each strategy", function()
      local says_so = shown(name)
      for _, strategy in ipairs(strategies) do
        local usual, worst = median(strategy, body)
        if strategy == "portfolio" then assert(worst <= 200, worst) end
        local expected = says_so[strategy]
        local alike = expected == usual or expected and usual <= 3 * expected + 3 and expected <= 3 * usual + 3
        assert(alike, ("%s: %s runs, README: %s"):format(strategy, usual, expected))
      end
    end)
  end
end)
