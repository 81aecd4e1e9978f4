-- Races: the same body under many schedules; or under all of them.
local lub = require "lubdub"
require "lubdub.sim"

describe("an account behind a lock", function()
  local function pay_from_three()
    local balance, lock, audit, payers = 0, lub.chan(1, "lock"), lub.chan(8), {}
    local function pay(amount)
      lock:send "taken"
      local before = balance
      audit:send(amount)
      balance = before + amount
      lock:recv()
    end
    for i = 1, 3 do payers[i] = lub.go(pay, i) end
    for i = 1, 3 do payers[i]:join() end
    assert.equals(6, balance)
  end

  it("loses nothing in 200 schedules", lub.explore(pay_from_three))

  it("loses nothing in any schedule with at most one preemption", lub.explore({
    strategy = "exhaustive", preemptions = 1,
  }, pay_from_three))
end)

describe("explore.run", function()
  it("says how far it came", function()
    local found = lub.explore.run({ strategy = "exhaustive" }, function() lub.go(function() end):join() end)
    assert.is_true(found.complete)
    assert.equals("complete up to 2 preemptions: 2 schedules", found.text)
  end)
end)
