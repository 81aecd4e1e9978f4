-- `make bench`: every workload on the engine, beside its floor in plain Lua and the same in every peer that is
-- installed, interleaved over the repeats, so that a machine's bad second hits all alike.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path
package.loaded.lubdub = {} -- a workload is only described here; one.lua runs it, in a process of its own

local options = require "options"
local process = require "process"
local measure = require "measure"
local peers = require "peers"

local growth, bench = require "growth", require "bench"
local opts, why = options.parse(arg, { bench = bench.names, growth = growth.names })
if not opts then
  io.stderr:write("bench: ", why, "\n", options.usage)
  os.exit(2)
end

local terminal = os.execute("test -t 2")

local function progress(text)
  if terminal then io.stderr:write("\r\27[K", text) end
end

process.check(peers.engine_path)
if opts.out then process.output("mkdir -p " .. process.quote(opts.out)) end
local mode = opts.growth and growth or bench
local runs, installed, missing = mode.runs(opts, here), {}, {}
if mode.beside then installed, missing = peers.find() end
for repeats = 1, opts.repeats do
  for i, run in ipairs(runs) do
    progress(("repeat %d of %d, %d of %d: %s"):format(repeats, opts.repeats, i, #runs, run.id))
    measure.once(run, installed)
  end
end
progress("")

local rows = {}
for _, run in ipairs(runs) do table.move(run.rows, 1, #run.rows, #rows + 1, rows) end
mode.report(rows, opts, installed, missing)
for _, row in ipairs(rows) do
  if row.samples.failed then os.exit(1) end
end
