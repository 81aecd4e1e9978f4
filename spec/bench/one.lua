-- One workload in this process: `lubdub run spec/bench/one.lua work/NAME N [more]` prints what run(N, more) measured.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path

local work = dofile(here .. "/" .. arg[1] .. ".lua")
local n, more = math.tointeger(tonumber(arg[2])), tonumber(arg[3] or "") or arg[3]
if not work.cold then work.run(math.max(1, n // 10), more) end
collectgarbage()
local results = { work.run(n, more) }
for i = 1, #results, 2 do print(("result %.9g %.9g"):format(results[i], results[i + 1])) end
