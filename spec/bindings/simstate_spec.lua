--- What Lua states see inside a sim: the virtual clock, random numbers of its seed, keys in an order; what no seed
--- controls is told.
local lub = require "lubdub"
local simcore = require "lubdub.simcore"
local helper = require "spec.bindings.helper"

--- The outcome of a run, which must end well unless `why` says otherwise.
local function run(fn, opts, why)
  local o = simcore.run(fn, opts or { seed = 1 })
  assert(o.why == why, ("%s: %s\n%s\n%s"):format(o.why, o.error or "", o.traceback or "", o.report or ""))
  return o
end

--- What fn returns in a sim.
local function inside(fn, opts)
  local o = run(fn, opts)
  return table.unpack(o.values, 1, o.values.n)
end

local EPOCH = 946684800 -- 2000-01-01T00:00:00Z

describe("time in a sim", function()
  local function times()
    lub.sleep(90.5)
    return os.time(), os.clock(), os.date "!%Y-%m-%d %H:%M:%S", os.date("!*t").sec
  end

  it("is the virtual clock's in the body", function()
    assert.same({ EPOCH + 90, 90.5, "2000-01-01 00:01:30", 30 }, { inside(times) })
  end)

  it("is the virtual clock's in workers, whichever library they open first", function()
    local function in_worker()
      local w = lub.spawn(function()
        require "lubdub".sleep(90.5)
        return os.time(), os.clock(), os.date "!%Y-%m-%d %H:%M:%S", os.date("!*t").sec
      end)
      return w:join()
    end
    assert.same({ EPOCH + 90, 90.5, "2000-01-01 00:01:30", 30 }, { inside(in_worker) })
    assert.same({ EPOCH }, { inside(function()
      return lub.spawn(function() return require("os").time() end):join()
    end) })
  end)

  it("of a given instant is Lua's own", function()
    local at = { year = 2020, month = 2, day = 3, hour = 4 }
    local want = os.time(at)
    assert.equal(want, inside(function() return os.time(at) end))
    assert.equal(os.date("!%c", 86400), inside(function() return os.date("!%c", 86400) end))
  end)

  it("names the caller's line in errors, as Lua's own", function()
    local _, why = inside(function() return pcall(function() return os.time "x" end) end)
    assert.matches("simstate_spec.lua:%d+: bad argument #1 to 'time'", why)
  end)

  it("goes down before the beginning when the clock jumps back", function()
    assert.equal(EPOCH - 1, inside(function() simcore.jump(-0.5) return os.time() end))
  end)
end)

describe("the caller's libraries", function()
  local time, clock, date = os.time, os.clock, os.date

  local function assert_own()
    assert.equal(time, os.time)
    assert.equal(clock, os.clock)
    assert.equal(date, os.date)
  end

  it("have their own functions again after a sim", function()
    run(function() assert(os.time ~= time and os.clock ~= clock and os.date ~= date) end)
    assert_own()
  end)

  it("have them also after one that fails", function()
    run(function() error "boom" end, nil, "error")
    assert_own()
    run(function() lub.chan():recv() end, nil, "deadlock")
    assert_own()
    assert.is_false(pcall(simcore.run, print, { seed = "x" }))
    assert_own()
  end)

  it("have them also when the script replaced or removed them meanwhile", function()
    run(function()
      os.time = function() return 1 end
      os.clock = nil
    end)
    assert_own()
  end)

  it("keep what the script had put there before", function()
    local function stub() return 42 end
    os.time = stub
    local seen = inside(function() return os.time() end)
    local after = os.time
    os.time = time
    assert.equal(42, seen)
    assert.equal(stub, after)
  end)

  it("are Lua's own to who kept a function of the sim's", function()
    local kept = inside(function() return os.time end)
    assert.is_true(math.abs(kept() - time()) <= 1)
  end)

  it("cross to workers by name, though a local has Lua's own", function()
    assert.equal(EPOCH, inside(function() return lub.spawn(function() return time() end):join() end))
  end)
end)


