-- What a trace recorded, with the gaps it had then. Gives each event's value, or, if it has none, the event, a table.
--   path    of a file with a JSON object a line, such as `lubdub run --record beats.jsonl` writes: {"t":1.5, …}
--   trace   the same as a list, instead of a path: { {t = 0, value = "a"}, {t = 0.5, value = "b"}, … }
--   speed   how many times as fast as it was (default 1)
--   from    begins at this time of the trace, without what was earlier (default: the first event's)
--   heart, event  only events of the heart, of the kind with this name (default: all)
-- Events that the consumer missed while it was busy come at once. A last line that was cut off is left out.
local lub = require "lubdub"
local parse = require "lubdub.beats".parse
local options = require "lubdub.options"

local function fail(place, what) error(("replay: %s: %s"):format(place, what), 0) end

--- A function that gives each event of the list, and where it stands.
local function from_list(trace)
  local n = 0
  return function()
    n = n + 1
    return trace[n], "trace[" .. n .. "]"
  end
end

--- The same for each line of the file; false for a line that is no event.
local function from_file(file, path)
  local n = 0
  return function()
    local line, trouble = file:read "L"
    if trouble then fail(path, trouble) end
    local event = line and parse(line:match "^[^\n]*")
    if not line or not event and line:sub(-1) ~= "\n" then return nil end
    n = n + 1
    return event or false, path .. ":" .. n
  end
end

--- Only the events that are wanted; all are checked.
local function selected(next_event, o)
  local last = -math.huge
  return function()
    for event, place in next_event do
      local t = type(event) == "table" and event.t
      if type(t) ~= "number" or t - t ~= 0 then fail(place, "expected an event with a time t") end
      if t < last then fail(place, ("expected t to be %s or more, got %s"):format(last, t)) end
      last = t
      local known = (o.heart or event.heart) == event.heart and (o.event or event.event) == event.event
      if known and t >= (o.from or t) then return event end
    end
  end
end

return function(opts)
  local o = options("replay", opts, {
    path = options.text(), trace = options.list(), speed = options.positive(1), from = options.number(),
    heart = options.text(), event = options.text(),
  })
  if (o.path == nil) == (o.trace == nil) then options.refuse("replay", "path", "either a path or a trace", o.path) end
  local file, why
  if o.path then
    file, why = io.open(o.path)
    if not file then options.refuse("replay", "path", "a file that can be read (" .. why .. ")", o.path) end
  end

  local next_event = selected(file and from_file(file, o.path) or from_list(o.trace), o)
  local start, from = lub.now(), o.from
  local function next_unit()
    local event = next_event()
    if not event then return nil end
    from = from or event.t
    if not lub.sleep(start + (event.t - from) / o.speed - lub.now()) then return nil end -- cancelled
    if event.value ~= nil then return event.value end
    return event
  end
  return next_unit, nil, nil, file
end
