-- Producers, consumers and selects over workers and fibers, random capacities, random ways to send and to
-- receive, random close: every value that was sent arrives once, none that was not.
local lub = require "lubdub"
local tally = require "spec.support".tally()

-- Sends the numbers first..last, each by a way chosen at random. Gives how many, and their sum.
local function produce(seed, chans, first, last)
  math.randomseed(seed)
  local n, sum, v = 0, 0, first
  while v <= last do
    local a, b = chans[math.random(#chans)], chans[math.random(#chans)]
    local way, count = math.random(8), 1
    if way >= 7 then
      local t = {}
      for i = v, math.min(last, v + math.random(20)) do t[#t + 1] = i end
      local sent, _, part = a:send_many(t, way == 7 and 0.001 or nil)
      count = sent or part
    elseif way == 1 then
      lub.select(a << v, b << v)
    elseif way == 2 then
      lub.prefer(a << v, b << v)
    elseif way == 3 then
      while not a:send(v, 0) do lub.yield() end
    elseif way == 4 then
      while not lub.select(a << v, b << v, 0.001) do lub.yield() end
    else
      a:send(v)
    end
    for i = v, v + count - 1 do n, sum = n + 1, sum + i end
    v = v + count
  end
  return n, sum
end

-- Receives until all channels are closed. Gives how many and their sum.
local function consume(seed, chans)
  math.randomseed(seed)
  local open, n, sum = {}, 0, 0
  for i, ch in ipairs(chans) do open[i] = ch end
  while #open > 0 do
    local i = math.random(#open)
    local way = math.random(6)
    local v, why
    if way >= 5 then
      v, why = open[i]:recv_many(math.random(30), way == 5 and 0.001 or 0)
      for k = 2, v and #v or 0 do n, sum = n + 1, sum + v[k] end
      v = v and v[1]
    elseif way == 1 then
      v, why = open[i]:recv(0.001)
    elseif way == 2 then
      v, why = open[i]:recv(0)
    else
      local from
      local pick = way == 3 and lub.select or lub.prefer
      from, v = pick(open[i], open[#open], 0.001)
      if from and v == nil then
        why = "closed"
        for k, ch in ipairs(open) do if ch == from then i = k end end
      end
      if not from then v = nil end -- it is "timeout" then
    end
    if v ~= nil then
      n, sum = n + 1, sum + v
    elseif why == "closed" then
      table.remove(open, i)
    else
      lub.yield()
    end
  end
  return n, sum
end

local function start(fn, ...)
  if math.random(2) == 1 then return lub.spawn(fn, ...) end
  return lub.go(fn, ...)
end

for round = 1, 6 do
  local chans, producers, consumers, each = {}, {}, {}, 150
  for i = 1, math.random(4) do chans[i] = lub.chan(({ 0, 0, 1, 2, 64, math.random(200) })[math.random(6)]) end
  for i = 1, math.random(2, 8) do
    producers[i] = start(produce, math.random(1 << 30), chans, (i - 1) * each + 1, i * each)
  end
  for i = 1, math.random(2, 6) do consumers[i] = start(consume, math.random(1 << 30), chans) end
  local sent, sent_sum, got, got_sum = 0, 0, 0, 0
  for _, p in ipairs(producers) do
    local n, sum = p:join()
    if not n then error(sum) end
    sent, sent_sum = sent + n, sent_sum + sum
  end
  for _, ch in ipairs(chans) do ch:close() end
  for _, c in ipairs(consumers) do
    local n, sum = c:join()
    if not n then error(sum) end
    got, got_sum = got + n, got_sum + sum
  end
  tally.check("every value arrives once, round " .. round, sent == got and sent_sum == got_sum,
    ("%d sent, %d came; sums %d, %d"):format(sent, got, sent_sum, got_sum))
end

-- Senders until their channel closes under them: what send said was sent is what came.
local function flood(ch)
  local n, sum = 0, 0
  for v = 1, math.huge do
    local ok, why = pcall(ch.send, ch, v)
    if not ok then return n, sum, why end
    n, sum = n + 1, sum + v
  end
end

-- The same in batches of the same number, of which the error tells how many went.
local function flood_many(ch)
  local n, sum, t = 0, 0, {}
  for v = 1, math.huge do
    for i = 1, 10 do t[i] = v end
    local ok, why = pcall(ch.send_many, ch, t)
    local sent = ok and 10 or tonumber(why:match "%((%d+) of 10 values")
    n, sum = n + sent, sum + sent * v
    if not ok then return n, sum, why end
  end
end

local function drain(ch)
  local n, sum = 0, 0
  for v in ch do n, sum = n + 1, sum + v end
  return n, sum
end

local function drain_many(ch)
  local n, sum = 0, 0
  for t in function() return ch:recv_many(16) end do
    for i = 1, #t do n, sum = n + 1, sum + t[i] end
  end
  return n, sum
end

for round = 1, 20 do
  local ch, senders, receivers = lub.chan(({ 0, 1, 2, 64 })[math.random(4)], "flooded"), {}, {}
  for i = 1, math.random(4) do senders[i] = start(math.random(2) == 1 and flood or flood_many, ch) end
  for i = 1, math.random(4) do receivers[i] = start(math.random(2) == 1 and drain or drain_many, ch) end
  for _ = 1, math.random(50) do lub.yield() end
  if math.random(2) == 1 then lub.sleep(math.random() / 100) end
  ch:close()
  local sent, sent_sum, got, got_sum, said = 0, 0, 0, 0, true
  for _, s in ipairs(senders) do
    local n, sum, why = s:join()
    if not n then error(sum) end
    sent, sent_sum, said = sent + n, sent_sum + sum, said and why:find("closed channel 'flooded'", 1, true) ~= nil
  end
  for _, r in ipairs(receivers) do
    local n, sum = r:join()
    if not n then error(sum) end
    got, got_sum = got + n, got_sum + sum
  end
  tally.check("a close loses and makes nothing, round " .. round, sent == got and sent_sum == got_sum,
    ("%d sent, %d came"):format(sent, got))
  tally.check("and every sender is told, round " .. round, said)
end

tally.finish()
