-- `make bench`: every workload on the engine, beside its floor in plain Lua and the same in every peer that is
-- installed, interleaved over the repeats, so that a machine's bad second hits all alike.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path
package.loaded.lubdub = {} -- a workload is only described here; one.lua runs it, in a process of its own

local options = require "options"
local process = require "process"
local report = require "report"
local stats = require "stats"
local peers = require "peers"

local opts, why = options.parse(arg, require "workloads")
if not opts then
  io.stderr:write("bench: ", why, "\n", options.usage)
  os.exit(2)
end

local function operations(work)
  if opts.big and work.big then return work.big end
  if opts.quick and not work.fixed then return math.max(1, work.n // 10) end
  return work.n
end

local function load_rows()
  local rows = {}
  for _, id in ipairs(opts.names) do
    local work = dofile(here .. "/work/" .. id .. ".lua")
    for _, carriers in ipairs(work.carriers) do
      rows[#rows + 1] = { id = id, work = work, carriers = carriers, n = operations(work), samples = {},
        floor = {}, peers = {} }
    end
  end
  return rows
end

local scale = { ns = 1e9, us = 1e6, ms = 1e3, s = 1, bytes = 1, ["%"] = 100 }

-- Runs one command of a row once and keeps what it told, or why it failed.
local function sample(row, into, command)
  if into.failed then return end
  local amount, count = process.run(command)
  if amount then into[#into + 1] = amount / count * scale[row.work.unit] else into.failed = count end
end

local function measure(row, installed)
  local program = row.work.program and peers.program(row.id, row.n)
  sample(row, row.samples, program or peers.engine(row.id, row.n, row.carriers))
  if row.work.floor then sample(row, row.floor, peers.floor(row.work.floor, row.n)) end
  for _, peer in ipairs(installed) do
    if peer.has[row.id] then
      row.peers[peer.name] = row.peers[peer.name] or {}
      sample(row, row.peers[peer.name], peer.command(row.id, row.n, row.carriers))
    end
  end
end

local terminal = os.execute("test -t 2")

local function progress(text)
  if terminal then io.stderr:write("\r\27[K", text) end
end

process.check(peers.engine_path)
local rows = load_rows()
local installed, missing = peers.find()
for repeats = 1, opts.repeats do
  for i, row in ipairs(rows) do
    progress(("repeat %d of %d, %d of %d: %s"):format(repeats, opts.repeats, i, #rows, row.id))
    measure(row, installed)
  end
end
progress("")

for _, row in ipairs(rows) do stats.judge(row) end
report.print(rows, opts, installed, missing)
if opts.json then report.json(rows, opts, installed) end
for _, row in ipairs(rows) do
  if row.samples.failed then os.exit(1) end
end
