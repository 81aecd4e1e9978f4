-- Hearts in a sim: silence is judged to the nanosecond, and a test of an hour's silence takes none.
local lub = require "lubdub"
require "lubdub.sim"

describe("a heart", function()
  it("that failed is dead, with the reason", lub.sim(function()
    local heart = lub.heart { name = "db", interval = 0.5, limit = 1 }
    local verdicts = heart:verdicts()
    heart:fail "bad disk"
    local v = verdicts:recv(1)
    assert.same({ "dead", "bad disk" }, { v.verdict, v.reason })
    heart:close()
  end))

  it("pulses twice a second while its fiber waits", lub.sim(function()
    local heart = lub.heart { name = "db", interval = 0.5 }
    lub.pass(3600)
    assert.equals(7200, heart:stats().pulses)
    heart:close()
  end))

  it("is heard, second by second", lub.explore({ runs = 50 }, function()
    local heart = lub.heart { name = "db", interval = 1 }
    local pulses, heard = heart:pulses(), 0
    local listener = lub.go(function() for _ in pulses do heard = heard + 1 end end)
    lub.pass(10)
    assert.equals(10, heard)
    heart:close()
    listener:join()
  end))
end)
