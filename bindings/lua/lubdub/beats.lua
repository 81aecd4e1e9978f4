--- Recorded beats: one JSON object a line, as `lubdub run --record` writes them. An incarnation of a heart is
---   { heart=, id=, interval=, opened= seconds, n= events, at={seconds}, event={name}, what={unit, state or verdict} }
local beats = {}

-- A reader for flat objects of strings, numbers, booleans and nulls (absent): all that a recorded line holds.
-- Positions are bytes; every step returns the value and where the text goes on, and raises { json = why } if it cannot.

local function fail(why, at) error { json = ("%s at column %d"):format(why, at) } end
local function skip(text, at) return text:match("^[ \t\r]*()", at) end

local escapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function unicode(text, at)
  local code = tonumber(text:match("^u(%x%x%x%x)", at) or fail("bad escape", at), 16)
  if code < 0xD800 or code > 0xDFFF then return utf8.char(code), at + 5 end
  local low = tonumber(text:match("^\\u([dD][c-fC-F]%x%x)", at + 5) or fail("lone surrogate", at), 16)
  if code > 0xDBFF then fail("lone surrogate", at) end
  return utf8.char(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00), at + 11
end

local function string_at(text, at)
  local parts, start = {}, at
  at = at + 1
  while true do
    local plain, stop = text:match('^([^"\\%c]*)()', at)
    parts[#parts + 1] = plain
    local c = text:sub(stop, stop)
    if c == '"' then return table.concat(parts), stop + 1 end
    if c ~= "\\" then fail("string without end", start) end
    local e = text:sub(stop + 1, stop + 1)
    if e == "u" then
      parts[#parts + 1], at = unicode(text, stop + 1)
    else
      parts[#parts + 1], at = escapes[e] or fail("bad escape", stop), stop + 2
    end
  end
end

local function number_at(text, at)
  local stop = text:match("^%-?0()", at) or text:match("^%-?[1-9]%d*()", at) or fail("no value", at)
  stop = text:match("^%.%d+()", stop) or stop
  stop = text:match("^[eE][+-]?%d+()", stop) or stop
  if text:find("^[%w.+-]", stop) then fail("bad number", at) end
  return tonumber(text:sub(at, stop - 1)), stop
end

local function value_at(text, at)
  if text:find('^"', at) then return string_at(text, at) end
  local word = text:match("^%a+", at)
  if word == "true" or word == "false" then return word == "true", at + #word end
  if word == "null" then return nil, at + #word end
  if text:find("^[%[{]", at) then fail("a value may be a string, a number or a boolean, it is nested", at) end
  return number_at(text, at)
end

local function object(text)
  local members, first, at = {}, true, skip(text, 1)
  if not text:find("^{", at) then fail("no object", at) end
  at = skip(text, at + 1)
  while not text:find("^}", at) do
    if not first then at = skip(text, text:match("^,()", at) or fail("no ','", at)) end
    if not text:find('^"', at) then fail("no name", at) end
    first = false
    local name
    name, at = string_at(text, at)
    at = skip(text, text:match("^:()", skip(text, at)) or fail("no ':'", at))
    if members[name] ~= nil then fail(("'%s' for a second time"):format(name), at) end
    members[name], at = value_at(text, at)
    at = skip(text, at)
  end
  at = skip(text, at + 1)
  if at <= #text then fail("text after the object", at) end
  return members
end

-- What a line has to hold.

local function finite(v) return type(v) == "number" and v == v and math.abs(v) < math.huge end
local states = { idle = true, blocked_send = true }

-- event -> what is kept of its line: false when there is nothing, nil (and what misses) when it is not there
local what = {
  open = function(line) return finite(line.interval) and line.interval > 0 or nil, "interval > 0" end,
  beat = function() return false end,
  rest = function() return false end,
  wake = function() return false end,
  close = function() return false end,
  unit = function(line) return line.unit, "unit" end,
  park = function(line)
    local state = line.state or "idle"
    return states[state] and state or nil, "state 'idle' or 'blocked_send'"
  end,
  verdict = function(line) return type(line.verdict) == "string" and line.verdict or nil, "verdict" end,
}

local function check(line)
  if not (finite(line.t) and line.t >= 0) then return "no time t >= 0" end
  if type(line.heart) ~= "string" then return "no name of a heart" end
  if line.id == nil then return "no id" end
  if not what[line.event] then return ("no event is named %q"):format(tostring(line.event)) end
  local kept, missing = what[line.event](line)
  if kept == nil then return ("%s without %s"):format(line.event, missing) end
end

--- Adds a line to the lives, which are also found by name and id in known; nil, or what is wrong with it.
local function add(lives, known, line)
  local wrong = check(line)
  if wrong then return wrong end
  local key = ("%s\0%s"):format(line.heart, line.id)
  local who = ("heart '%s' (id %s)"):format(line.heart, line.id)
  local life = known[key]
  if line.event == "open" then
    if life then return who .. " opens for a second time" end
    life = { heart = line.heart, id = line.id, interval = line.interval, opened = line.t, n = 0,
      at = {}, event = {}, what = {} }
    known[key], lives[#lives + 1] = life, life
    return
  end
  local n = life and life.n or 0
  if not life or life.event[n] == "close" then return ("%s of %s, which is not open"):format(line.event, who) end
  if line.t < (life.at[n] or life.opened) then return "time goes back for " .. who end
  if line.event == "wake" and not life.parked then return end -- it had waited for its turn only: no sign of life
  if line.event == "wake" or line.event == "park" then life.parked = line.event == "park" end
  life.n = n + 1
  life.at[n + 1], life.event[n + 1], life.what[n + 1] = line.t, line.event, (what[line.event](line))
end

--- beats.parse(line) -> the object as a table | nil, why
function beats.parse(text)
  local ok, result = pcall(object, text)
  if ok then return result end
  if type(result) ~= "table" then error(result, 0) end
  return nil, result.json
end

--- beats.lines(lines, name) -> incarnations in the order of their opening | nil, "name:line: why"
--- lines() gives a line with its end, or nil. What a crash left of a last line is passed over; a note says so.
function beats.lines(lines, name)
  local lives, known, count, note = {}, {}, 0, nil
  for text in lines do
    count = count + 1
    local whole = text:sub(-1) == "\n"
    local bare = whole and text:sub(1, -2) or text
    if bare:find "%S" then
      local line, why = beats.parse(bare)
      if line then
        why = add(lives, known, line)
      elseif not whole then
        why, note = nil, ("%s:%d: the last line is cut off, it is left out"):format(name, count)
      end
      if why then return nil, ("%s:%d: %s"):format(name, count, why) end
    end
  end
  return lives, note
end

--- beats.read(path) -> as beats.lines
function beats.read(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local lives, note = beats.lines(function() return (file:read "L") end, path)
  file:close()
  return lives, note
end

return beats
