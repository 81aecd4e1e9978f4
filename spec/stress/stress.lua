-- Many producers, consumers and selects over workers; random cancels and kills; the sums must match.
local lub = require "lubdub"
local tally = require "spec.support".tally()

for _, capacity in ipairs { 0, 1, 2, 64 } do
  local items, sums, n = lub.chan(capacity, "items"), lub.chan(4, "sums"), 2000
  local producers = {}
  for i = 1, 4 do
    producers[i] = lub.spawn(function(ch, count)
      for k = 1, count do
        if k % 2 == 0 then ch:send(k) else lub.select(ch << k) end
      end
    end, items, n)
  end
  for _ = 1, 4 do
    lub.spawn(function(ch, out)
      local sum = 0
      while true do
        local from, v = lub.select(ch, 30)
        if not from or v == nil then break end
        sum = sum + v
      end
      out:send(sum)
    end, items, sums)
  end
  for i = 1, 4 do producers[i]:join() end
  items:close()
  local total = 0
  for _ = 1, 4 do total = total + sums:recv() end
  tally.check("every item arrives once at capacity " .. capacity, total == 4 * n * (n + 1) // 2)
end

local ended = 0
for i = 1, 200 do
  local ch = lub.chan(0, "nobody")
  local w = lub.spawn(function(c)
    local f = lub.go(function() lub.sleep(60) end)
    c:recv()
    return f:state()
  end, ch)
  if i % 3 == 0 then w:kill() elseif i % 3 == 1 then w:cancel() else ch:close() end
  w:join()
  ended = ended + (w:state() == "dead" and 1 or 0)
end
tally.check("killed, cancelled and closed workers all end", ended == 200)

local fibers, sum = {}, 0
local ch = lub.chan(3, "shared")
for i = 1, 200 do fibers[i] = lub.go(function() for _ = 1, 100 do ch:send(1) end end) end
for _ = 1, 20000 do sum = sum + ch:recv() end
for i = 1, 200 do fibers[i]:join() end
tally.check("two hundred fibers, one channel", sum == 20000)

local woken = 0
for i = 1, 300 do fibers[i] = lub.go(function() lub.sleep(i % 7 / 1000) woken = woken + 1 end) end
for i = 1, 300 do
  if i % 5 == 0 then fibers[i]:kill() end
  fibers[i]:join()
end
tally.check("a killed sleeper does not wake", woken <= 300 and woken >= 240)

tally.finish()
