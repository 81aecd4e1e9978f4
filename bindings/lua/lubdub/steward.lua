--- lub.steward{ … } -> a steward (handle.lua): keeps a ward alive. Its ward runs in a worker of its own; so does it.
---
---   name                of it, its workers and its hearts
---   work, generator     work(unit, ward) for each unit; generator: a function of generator_opts or a script (both give
---                       an iterator), a list, or a channel. Units outlive the ward: one that was in flight at a death
---                       is tried again, and skipped as poison after `tries` (3)
---   start               or start(ward), or a script that returns such a function: full control
---   ward                or the options of a steward or supervisor below: stewards nest
---   pulse, policy, policy_opts, limit, window, estimate
---                       of the ward's heart; a pulse every 0.5 s
---   startup             seconds until its first beat, unit or result: 10; false: it need not give one
---   heal                the verdicts on which the ward is replaced: { "dead" }
---   restart             { type = "transient" | "permanent" | "temporary", max = 5, within = 30, reset = 60,
---                       backoff = "full_jitter", base = 0.1, cap = 30, factor = 2 }, or the type alone
---   grace               seconds between cancel and kill: 5
---   zombies             how many wards may hang in C calls before it gives up: 4
---   memory              of the ward's worker, in bytes
---   results, capacity   a channel to send the results to (it is not closed then), or the capacity of its own: 0
---   events              how many events are kept for a slow reader: 256
---   seed                of the waits between restarts
---
--- A transient ward (the default) is started again unless it returned; a permanent one always; a temporary one never.
local check = require "lubdub.check"
local handle = require "lubdub.handle"
local plan = require "lubdub.plan"

return function(options)
  local spec = check.call("steward", 2, plan.steward, options)
  spec.capacity = check.call("steward", 2, function()
    return check.whole(options.capacity, "capacity", 0, 0, 1 << 31)
  end)
  local ok, s = pcall(handle.start, spec)
  if not ok then check.raise("steward: " .. tostring(s), 2) end
  return s
end
