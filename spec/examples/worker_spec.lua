-- Workers in a sim: each has a state of its own, as outside; all run on the thread of the test, in virtual time.
local lub = require "lubdub"
require "lubdub.sim"

describe("workers", function()
  it("share nothing but channels", lub.sim(function()
    local jobs, answers = lub.chan(), lub.chan()
    local w = lub.spawn(function()
      for n in jobs do
        lub.sleep(n)
        answers:send(n * n)
      end
    end)
    jobs:send(60)
    assert.equals(3600, answers:recv())
    assert.equals(60, lub.now())
    jobs:close()
    assert.is_true(w:join() == nil)
  end))

  it("answer in any order", lub.explore({ runs = 50 }, function()
    local answers, sum = lub.chan(), 0
    for i = 1, 3 do lub.spawn(function() answers:send(i) end) end
    for _ = 1, 3 do sum = sum + answers:recv() end
    assert.equals(6, sum)
  end))
end)
