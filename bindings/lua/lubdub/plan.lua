--- Options of stewards and supervisors, checked and turned into what their workers run on: plain tables that can be
--- sent. A leaf is a ward; what has `children` is a healer (healer.lua). Scripts are tried here, so that one that is
--- missing or gives no function is an error where the steward is made.
local lub = require "lubdub"
local backoff = require "lubdub.backoff"
local check = require "lubdub.check"
local limit = require "lubdub.limit"

local plan = {}

local LEAF = "name start work ward generator generator_opts pulse pulse_opts policy policy_opts limit startup window "
  .. "estimate restart grace memory tries heal results"
local STEWARD = LEAF .. " zombies events capacity seed"
local ABOVE = "name ward restart pulse grace zombies events seed results capacity" -- of a steward of a steward
local SUPERVISOR = "name children strategy auto_shutdown restart pulse grace zombies events seed"

local function script_or(v, name, types)
  check.type(v, name, types)
  if type(v) == "string" then check.script(v, name) end
  return v
end

--- A policy or a pulse; a script is tried with its options, which have no effect but to be checked.
local function judge_of(v, name, types, opts)
  check.type(opts, name .. "_opts", "table")
  if type(check.type(v, name, types)) ~= "string" then return v end
  local ok, fn = pcall(check.script(v, name), opts or {})
  if not ok then error({ option = ("%s: %s"):format(name, tostring(fn)) }, 0) end
  if type(fn) ~= "function" then check.refuse(name, ("'%s' to make a function"):format(v), fn) end
  return v
end

-- ---- parts --------------------------------------------------------------------------------------------------------

local function heart_of(o)
  local startup = o.startup
  if startup ~= false then startup = check.span(startup, "startup", 10) end
  local pulse = o.pulse
  if type(pulse) ~= "function" and type(pulse) ~= "string" then pulse = check.span(pulse, "pulse", 0.5) end
  return {
    name = o.name,
    interval = judge_of(pulse, "pulse", "number, function or string", o.pulse_opts), interval_opts = o.pulse_opts,
    policy = judge_of(o.policy, "policy", "function or string", o.policy_opts), policy_opts = o.policy_opts,
    limit = check.span(o.limit, "limit"), startup = startup or nil,
    window = check.whole(o.window, "window", nil, 1, 1 << 20), estimate = check.span(o.estimate, "estimate"),
  }
end

local function types_of(restart)
  if type(restart) == "string" then restart = { type = restart } end
  return check.type(restart, "restart", "table or string", {})
end

--- Runs fn; what it refuses is called `restart: …`.
local function within(name, fn, ...)
  local results = table.pack(pcall(fn, ...))
  if results[1] then return results[2] end
  local why = results[2]
  if type(why) == "table" and why.option then why.option = name .. ": " .. why.option end
  error(why, 0)
end

--- How a child is started again: `type`, backoff, reset.
local function restart_of(restart, default)
  local kinds = { "permanent", "transient", "temporary" }
  return within("restart", function()
    return {
      type = check.word(restart.type, "type", kinds, default),
      backoff = backoff.check(restart),
      reset = check.positive(restart.reset, "reset", 60),
    }
  end)
end

local function heal_of(heal)
  local set = {}
  for _, verdict in ipairs(check.type(heal, "heal", "table", { "dead" })) do
    set[check.type(verdict, "heal", "string")] = true
  end
  return set
end

local function is_channel(v) return type(v) == "userdata" and pcall(function() return v:capacity() end) end

local function results_given(v)
  if v ~= nil and not is_channel(v) then check.refuse("results", "a channel", v) end
  return v
end

local function generator_of(v)
  if v ~= nil and not is_channel(v) then script_or(v, "generator", "function, string or table") end
  return v
end

local function work_of(o, leaf)
  local given = 0
  for _, name in ipairs { "start", "work" } do
    if o[name] ~= nil then given = given + 1 end
  end
  if given ~= 1 then error({ option = "expected one of start, work, ward" }, 0) end
  leaf.start = script_or(o.start, "start", "function or string")
  leaf.work = script_or(o.work, "work", "function or string")
  leaf.generator, leaf.generator_opts = generator_of(o.generator), o.generator_opts
  if (leaf.work == nil) ~= (leaf.generator == nil) then
    error({ option = "work and generator go together" }, 0)
  end
end

-- ---- specs --------------------------------------------------------------------------------------------------------

local function leaf_of(o, restart, default)
  local leaf = {
    name = o.name, heart = heart_of(o), restart = restart_of(restart, default),
    grace = check.from_zero(o.grace, "grace", 5), memory = check.count(o.memory, "memory"),
    tries = check.count(o.tries, "tries", 3), heal = heal_of(o.heal), results = results_given(o.results),
  }
  work_of(o, leaf)
  return leaf
end

--- What every healer has.
local function healer_of(o, children)
  local restart = types_of(o.restart)
  return {
    name = o.name, children = children, grace = check.from_zero(o.grace, "grace", 5),
    heart = { interval = type(o.pulse) == "number" and check.span(o.pulse, "pulse") or 0.5 },
    limit = within("restart", limit.check, restart), zombies = check.count(o.zombies, "zombies", 4), seed = o.seed,
    events = check.whole(o.events, "events", 256, 1, 1 << 31), heal = { dead = true }, strategy = "one_for_one",
  }
end

local NAMES = "type backoff base cap factor steps reset max within"

--- A steward: a healer of one child, which is a ward or, for `ward = { … }`, a steward or supervisor in turn.
function plan.steward(o)
  if type(o) ~= "table" then check.refuse("options", "a table", o) end
  check.names(o, "", o.ward == nil and STEWARD or ABOVE)
  if o.seed ~= nil and math.type(o.seed) ~= "integer" then check.refuse("seed", "an integer", o.seed) end
  o = setmetatable({ name = check.type(o.name, "name", "string", "steward") }, { __index = o })
  local restart = types_of(o.restart)
  check.names(restart, "restart", NAMES)
  local child
  if o.ward ~= nil then
    local inner = check.type(o.ward, "ward", "table")
    child = inner.children and plan.supervisor(inner) or plan.steward(inner)
    child.restart = restart_of(restart, "transient")
  else
    child = leaf_of(o, restart, "transient")
  end
  child.significant = true
  local healer = healer_of(o, { child })
  healer.auto_shutdown, healer.lone = "any_significant", true
  healer.results = results_given(o.results)
  healer.restart = restart_of(restart, "transient")
  return healer
end

-- ---- supervisors --------------------------------------------------------------------------------------------------

local function child_of(o, index)
  if type(o) == "function" or type(o) == "string" then o = { start = o } end
  local where = ("children[%d]"):format(index)
  check.type(o, where, "table, function or string")
  return within(where, function()
    local restart = types_of(o.restart)
    local child
    if o.children then
      child = plan.supervisor(o, true)
      child.restart = restart_of(restart, "permanent")
    elseif o.ward ~= nil then
      local options = {}
      for k, v in pairs(o) do if k ~= "significant" then options[k] = v end end
      options.name = o.name or where
      child = plan.steward(options)
      child.restart = restart_of(restart, "permanent")
    else
      check.names(o, "", LEAF .. " significant")
      check.names(restart, "restart", "type backoff base cap factor steps reset")
      o = setmetatable({ name = check.type(o.name, "name", "string", tostring(index)) }, { __index = o })
      child = leaf_of(o, restart, "permanent")
    end
    child.significant = check.type(o.significant, "significant", "boolean", false)
    if child.significant and child.restart.type == "permanent" then
      error({ option = "significant: a permanent child never ends by itself" }, 0)
    end
    return child
  end)
end

local function children_of(o)
  local children, names, list = {}, {}, check.type(o.children, "children", "table", {})
  for i in pairs(list) do
    if math.type(i) ~= "integer" or i < 1 or i > 1 and list[i - 1] == nil then
      error({ option = ("children: expected a list without holes, got one with [%s]"):format(tostring(i)) }, 0)
    end
  end
  for i, c in ipairs(list) do
    children[i] = child_of(c, i)
    local name = children[i].name
    if names[name] then error({ option = ("children[%d]: the name '%s' is taken"):format(i, name) }, 0) end
    names[name] = true
  end
  if #children == 0 then error({ option = "children: expected at least one" }, 0) end
  return children
end

function plan.supervisor(o, is_child)
  if type(o) ~= "table" then check.refuse("options", "a table", o) end
  check.names(o, "", SUPERVISOR .. (is_child and " significant" or ""))
  if o.seed ~= nil and math.type(o.seed) ~= "integer" then check.refuse("seed", "an integer", o.seed) end
  o = setmetatable({ name = check.type(o.name, "name", "string", "supervisor") }, { __index = o })
  check.names(types_of(o.restart), "restart", NAMES)
  restart_of(types_of(o.restart), "permanent") -- what a steward of it would make of the rest
  local healer = healer_of(o, children_of(o))
  healer.strategy = check.word(o.strategy, "strategy", { "one_for_one", "one_for_all", "rest_for_one" }, "one_for_one")
  healer.auto_shutdown = check.word(o.auto_shutdown, "auto_shutdown",
    { "never", "any_significant", "all_significant" }, "never")
  return healer
end

--- Gives every ward below a channel for its results. Gives those by the wards' names.
---   lend  what wards without one share (a steward's own), or nil
---   own   a list; gets the channels that were made here
function plan.open_results(spec, lend, own, found)
  found = found or {}
  for _, c in ipairs(spec.children) do
    if c.children then
      plan.open_results(c, lend, own, found)
    else
      if not c.results then
        c.results, c.own_results = lend or lub.chan(0, c.name .. ".results"), lend == nil
        if c.own_results then own[#own + 1] = c.results end
      end
      found[c.name] = found[c.name] or c.results
    end
  end
  return found
end

return plan
