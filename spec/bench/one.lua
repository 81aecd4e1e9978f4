-- One workload in this process: `lubdub run spec/bench/one.lua NAME N` prints what run(N) measured.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path

local work = dofile(here .. "/work/" .. arg[1] .. ".lua")
local n = math.tointeger(tonumber(arg[2]))
if not work.cold then work.run(math.max(1, n // 10)) end
collectgarbage()
print(("result %.9g %.9g"):format(work.run(n)))
