-- Child processes.
local process = {}

function process.quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

--- All that a command printed (errors too), and whether it succeeded.
function process.output(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read("a")
  return text, pipe:close() == true
end

--- Whether a program can be found.
function process.exists(program)
  return select(2, process.output("command -v " .. process.quote(program)))
end

function process.check(program)
  if process.exists(program) then return end
  io.stderr:write("bench: no ", program, ": run make first, or set LUBDUB\n")
  os.exit(1)
end

-- A workload that hangs is a failure, not the end of the bench.
local limit = process.exists("timeout") and "timeout -k 5 120 " or ""

--- Runs one measurement. -> the amounts for one operation, in the order they were printed | nil, reason
function process.run(command)
  local text, ok = process.output(limit .. command)
  local amounts = {}
  for amount, operations in text:gmatch("result (%S+) (%S+)") do
    amounts[#amounts + 1] = tonumber(amount) / tonumber(operations)
  end
  if ok and amounts[1] then return amounts end
  local line = text:match("[^\n]+")
  return nil, line or (limit ~= "" and "no result within 120 s" or "no result")
end

return process
