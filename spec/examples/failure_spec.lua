-- What a sim says when nothing can go on. (`pcall` and `run` here, because these tests are to pass.)
local lub = require "lubdub"
require "lubdub.sim"

local function failure(body) return select(2, pcall(lub.sim.run, body)) end

describe("a sim that cannot go on", function()
  it("names a deadlock, and who waits where", function()
    local why = failure(function() lub.chan(0, "answers"):recv() end)
    assert.matches("deadlock at t=%+0%.000000000s", why)
    assert.matches("recv on 'answers' for 0%.000 s at .*failure_spec%.lua:%d+", why)
  end)

  it("names what was left behind", function()
    assert.matches("leaked fibers", failure(function() lub.go(function() lub.sleep(5) end) end))
  end)

  it("names who keeps the clock from moving", function()
    assert.matches("livelock", failure(function() while true do lub.yield() end end))
  end)

  it("gives the token of the run", function()
    assert.matches("replay: LUBDUB_REPLAY=lub1:random:%d+:1:%x+ ", failure(function() error "boom" end))
  end)
end)
