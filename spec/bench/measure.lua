-- What is run, and the samples that come of it. A run is one workload on one number of carriers; it fills a row for
-- each figure that the workload tells.
local process = require "process"
local peers = require "peers"
local measure = {}

local scale = { ns = 1e9, us = 1e6, ms = 1e3, s = 1, bytes = 1, ["%"] = 100 }

--- `n` operations of `work`; `more`: a further argument, the size that growth varies.
function measure.run(kind, id, work, carriers, n, more)
  local run = { id = id, path = kind .. "/" .. id, work = work, carriers = carriers, n = n, more = more, rows = {} }
  for i, figure in ipairs(work.figures or { work }) do
    run.rows[i] = { id = figure.key and id .. "." .. figure.key or id, name = figure.name, unit = figure.unit,
      target = (figure.target or {})[carriers] or {}, mailbox = work.mailbox, kernel = work.kernel, carriers = carriers,
      n = n, more = more, samples = {}, floor = {}, peers = {} }
  end
  return run
end

local function samples(row, who)
  if who == "lubdub" then return row.samples elseif who == "floor" then return row.floor end
  row.peers[who] = row.peers[who] or {}
  return row.peers[who]
end

-- Runs a command once and keeps in each row what it told, or why it failed.
local function sample(run, who, command)
  if samples(run.rows[1], who).failed then return end
  local amounts, why = process.run(command)
  if amounts and #amounts ~= #run.rows then
    amounts, why = nil, ("%d figures were told, not %d"):format(#amounts, #run.rows)
  end
  for i, row in ipairs(run.rows) do
    local into = samples(row, who)
    if amounts then into[#into + 1] = amounts[i] * scale[row.unit] else into.failed = why end
  end
end

-- A workload that measures commands does so from the engine; `nothing` is what a side does to begin and end.
local function engine(run, nothing)
  return peers.engine(run.path, run.n, run.carriers, run.work.of_commands and nothing or run.more)
end

--- Runs the workload once on every side, the engine first.
function measure.once(run, installed)
  local work = run.work
  sample(run, "lubdub", work.program and peers.program(run.id, run.n) or engine(run, peers.nothing))
  if work.floor then sample(run, "floor", peers.floor(work.floor, run.n, run.more)) end
  for _, peer in ipairs(installed) do
    local able = peer.has[run.id] and (run.carriers == 1 or work.serial or not peer.alone)
    if work.of_commands and peer.nothing then sample(run, peer.name, engine(run, peer.nothing))
    elseif able then sample(run, peer.name, peer.command(run.id, run.n, run.carriers))
    end
  end
end

return measure
