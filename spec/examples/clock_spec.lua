-- Time in a sim: it passes when everybody waits, and takes none.
local lub = require "lubdub"
require "lubdub.sim"

describe("the clock of a sim", function()
  it("starts at 0 and goes where the next timer is", lub.sim(function()
    assert.equals(0, lub.now())
    lub.sleep(3600)
    assert.equals(3600, lub.now())
  end))

  it("passes, and what was due has happened", lub.sim(function()
    local rings = 0
    local ringing = lub.go(function() for _ in lub.tick(60) do rings = rings + 1 end end)
    lub.pass(300)
    assert.equals(5, rings)
    ringing:kill()
  end))

  it("stands while the others settle", lub.sim(function()
    local done = false
    lub.go(function() for _ = 1, 10 do lub.yield() end done = true end)
    lub.settle()
    assert.is_true(done)
    assert.equals(0, lub.now())
  end))

  it("makes timeouts exact", lub.sim(function()
    local v, why = lub.chan():recv(2.5)
    assert.same({ nil, "timeout", 2.5 }, { v, why, lub.now() })
  end))
end)
