-- Faults in a sim: what goes wrong is a choice of the run, as who runs next is; a failure replays with its faults.
local lub = require "lubdub"
local fault = require "lubdub.fault"
require "lubdub.sim"

--- Ten rows go through a queue to a store whose writes fail now and then; what the store has then.
local function ten_rows(write)
  local rows, queue = {}, lub.chan()
  local writer = lub.go(function()
    for row in queue do write(rows, row) end
  end)
  fault.always(function() return #rows <= 10 end)
  for i = 1, 10 do queue:send(i) end
  queue:close()
  fault.heal()
  fault.eventually(function() assert.equals(10, #rows) end, { within = 5 })
  writer:join()
end

describe("a store whose writes fail", function()
  it("has every row when each is tried again", lub.explore({ runs = 50 }, function()
    ten_rows(function(rows, row)
      while fault.point "store.write" do lub.sleep(0.1) end
      rows[#rows + 1] = row
    end)
  end))

  it("has not when they are not: found", function()
    local careless = lub.explore({ runs = 50 }, function()
      ten_rows(function(rows, row)
        if not fault.point "store.write" then rows[#rows + 1] = row end
      end)
    end)
    local ok, why = pcall(careless)
    assert.is_false(ok)
    assert.matches("eventually: .* did not hold within 5 s", why.message)
  end)
end)

describe("a policy of a second without a beat", function()
  local function policy(h)
    if h.progress_age > 1 then return "dead" end
    return "alive", 1 - h.progress_age
  end

  it("bears beats that come late and twice, not beats that are lost", lub.sim(function()
    local heart = lub.heart { name = "db", interval = 0.2, policy = policy }
    local verdicts = heart:verdicts()
    fault.delay_beats(heart, 0.3)
    fault.duplicate_beats(heart, 1)
    for _ = 1, 20 do
      heart:beat()
      lub.sleep(0.2)
    end
    assert.is_nil(verdicts:recv(0))
    fault.drop_beats(heart, 1)
    heart:beat()
    assert.equals("dead", verdicts:recv(2).verdict)
    heart:close()
  end))
end)
