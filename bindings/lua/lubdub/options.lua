--- The options of a script: checked, defaults filled in. An error names the script, the option and the value, at the
--- line that gave the options, or, if that was C, at the script's own:
---   local o = options("ticker", opts, { every = options.required(options.positive()), count = options.count(10) })
---   `ticker: option 'every': expected a number > 0, got -1`
local options = {}

local function number(v) return type(v) == "number" and v == v end
local function finite(v) return number(v) and math.abs(v) < math.huge end

local kinds = {
  number = { "a finite number", finite },
  positive = { "a number > 0", function(v) return finite(v) and v > 0 end },
  seconds = { "a number >= 0", function(v) return finite(v) and v >= 0 end },
  limit = { "a number > 0 (math.huge: never)", function(v) return number(v) and v > 0 end },
  share = { "a number > 0 and <= 1", function(v) return finite(v) and v > 0 and v <= 1 end },
  integer = { "an integer", function(v) return math.type(v) == "integer" end },
  count = { "an integer >= 1", function(v) return math.type(v) == "integer" and v >= 1 end },
  flag = { "true or false", function(v) return type(v) == "boolean" end },
  text = { "a string", function(v) return type(v) == "string" end },
  list = { "a table", function(v) return type(v) == "table" end },
  any = { "a value", function(v) return v ~= nil end },
}

for name, kind in pairs(kinds) do
  --- options.NAME([default]): an option of that kind; without a default it may be absent.
  options[name] = function(default) return { expected = kind[1], valid = kind[2], default = default } end
end

--- An option that is one of these strings.
function options.one_of(choices, default)
  local set = {}
  for _, choice in ipairs(choices) do set[choice] = true end
  local expected = "'" .. table.concat(choices, "' or '") .. "'"
  return { expected = expected, valid = function(v) return v ~= nil and set[v] end, default = default }
end

--- The same option, which must be given.
function options.required(kind)
  kind.required = true
  return kind
end

local function shown(v)
  local kind = type(v)
  if v == nil then return "nothing" end
  if v ~= v then return "nan" end
  if kind == "string" then return ("%q"):format(v) end
  return (kind == "number" or kind == "boolean") and tostring(v) or kind
end

local function names(known)
  local list = {}
  for name in pairs(known) do list[#list + 1] = name end
  table.sort(list)
  return table.concat(list, ", ")
end

--- Raises; called by what a script calls.
local function raise(...)
  local giver = debug.getinfo(4, "l") -- of raise <- ours <- the script <- who gave it the options
  error((...):format(select(2, ...)), giver and giver.currentline > 0 and 4 or 3)
end

--- Raises the error about an option that is wrong for a reason of the script's own.
function options.refuse(who, name, expected, value)
  raise("%s: option '%s': expected %s, got %s", who, name, expected, shown(value))
end

--- options(who, opts, known) -> a new table: what opts gives, and the defaults of what it does not.
--- opts nil means all defaults; what is unknown, missing or no value of its kind is an error.
local function check(_, who, opts, known)
  if opts ~= nil and type(opts) ~= "table" then raise("%s: expected a table of options, got %s", who, shown(opts)) end
  local checked = {}
  for name, value in pairs(opts or {}) do
    local kind = known[name]
    if not kind then raise("%s: option %s is unknown; it has: %s", who, shown(name), names(known)) end
    if not kind.valid(value) then
      raise("%s: option '%s': expected %s, got %s", who, name, kind.expected, shown(value))
    end
    checked[name] = value
  end
  for name, kind in pairs(known) do
    if checked[name] == nil then checked[name] = kind.default end
    if checked[name] == nil and kind.required then
      raise("%s: option '%s': expected %s, got nothing", who, name, kind.expected)
    end
  end
  return checked
end

return setmetatable(options, { __call = check })
