-- Resident memory of this process in bytes (Linux). Told in kB by the kernel, so no page size is assumed.
local memory = {}

function memory.resident()
  collectgarbage()
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmRSS:%s*(%d+)")
    if kb then return tonumber(kb) * 1024 end
  end
  error("no VmRSS in /proc/self/status")
end

return memory
