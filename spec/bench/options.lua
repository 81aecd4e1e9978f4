-- The command line of the harness.
local options = {}

options.usage = [[
usage: lubdub run spec/bench/run.lua [options] [workload ...]
  --repeats N   runs of each workload (default 5; 3 under --quick)
  --quick       a tenth of the operations: the table takes shape, its figures are rough
  --big         1,000,000 fibers and 10,000 workers where others are 100,000 and 1,000
  --json FILE   also write everything that was measured to FILE
]]

local function count(text)
  local n = math.tointeger(tonumber(text))
  return n and n > 0 and n or nil
end

local takes = {
  ["--quick"] = function(opts) opts.quick = true return true end,
  ["--big"] = function(opts) opts.big = true return true end,
  ["--repeats"] = function(opts, text) opts.repeats = count(text) return opts.repeats end,
  ["--json"] = function(opts, text) opts.json = text return text end,
}
local with_value = { ["--repeats"] = true, ["--json"] = true }

--- -> { names, repeats, quick, big, json } | nil, reason
function options.parse(args, workloads)
  local opts, known, i = { names = {} }, {}, 1
  for _, name in ipairs(workloads) do known[name] = true end
  while args[i] do
    local word = args[i]
    if with_value[word] then i = i + 1 end
    if takes[word] then
      if not takes[word](opts, args[i]) then return nil, word .. ": a value is missing or wrong" end
    elseif known[word] then opts.names[#opts.names + 1] = word
    elseif word:sub(1, 1) == "-" then return nil, "unknown option " .. word
    else return nil, ("no workload '%s'; there are %s"):format(word, table.concat(workloads, ", "))
    end
    i = i + 1
  end
  if #opts.names == 0 then opts.names = workloads end
  opts.repeats = opts.repeats or (opts.quick and 3 or 5)
  return opts
end

return options
