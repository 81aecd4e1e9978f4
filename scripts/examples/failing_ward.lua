-- The failing ward of "Concurrency in Go" over 1, 2, -1, 3, 4, 5. There the steward starts it again from the beginning,
-- and the stream is 1 2 1 2 1 2 for ever. Here it goes on where it stopped; what always fails is set aside in the end.
local lub = require "lubdub"

local s = lub.steward {
  name = "numbers",
  generator = { 1, 2, -1, 3, 4, 5 },
  work = function(n)
    if n < 0 then error(("negative value: %d"):format(n)) end
    return n
  end,
  tries = 3,
  restart = { backoff = "full_jitter", base = 0.1, cap = 1 },
}

local got = {}
for v in s:results() do got[#got + 1] = v end
for e in s:events() do
  local unit = e.unit and (" unit %s after %d tries"):format(e.unit, e.tries) or ""
  print(("attempt %d: %s%s%s"):format(e.attempt, e.event, unit, e.reason and ": " .. e.reason or ""))
end
print("stream: " .. table.concat(got, " "))
print(("%d restarts, %d unit set aside"):format(s:stats().restarts, s:stats().poisoned))
