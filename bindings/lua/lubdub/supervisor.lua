--- lub.supervisor{ … } -> a supervisor, with the face of a steward (handle.lua): keeps several wards alive that stand
--- on each other.
---
---   children        in the order of their start: options as of a steward (`restart` without max and within), a
---                   function of the ward, a script, or the options of a supervisor below. The next one starts when the
---                   one before is ready: at its first beat, unit or result. They stop in reverse order
---   strategy        what is started again when one dies: "one_for_one" it alone, "one_for_all" all, "rest_for_one" it
---                   and those after it
---   restart         { max = 5, within = 30 } of all children together; one more, and it stops them and fails upward
---   auto_shutdown   "never" | "any_significant" | "all_significant": it ends when children with `significant` did
---   name, pulse, grace, zombies, events, seed
---                   as of a steward
---
--- A child's restart type is "permanent" unless it says otherwise. A supervisor of which no child is left has finished.
local check = require "lubdub.check"
local handle = require "lubdub.handle"
local plan = require "lubdub.plan"

return function(options)
  local spec = check.call("supervisor", 2, plan.supervisor, options)
  local ok, s = pcall(handle.start, spec)
  if not ok then check.raise("supervisor: " .. tostring(s), 2) end
  return s
end
