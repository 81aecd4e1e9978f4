-- The times at which a cron expression comes true, as seconds since 1970 (for os.date): minute hour day month weekday.
--   expression  five fields, or @hourly @daily @midnight @weekly @monthly @yearly @annually. A field is a list of
--               `*`, `5`, `1-5`, each range with a step if wanted (`*/15`, `8-18/2`); months and weekdays also by the
--               first three letters of their names; Sunday is 0 and 7. As in Vixie's cron, if both day and weekday
--               are restricted (do not begin with `*`), one of them is enough.
--   utc         true: in UTC; otherwise (default) in local time, with daylight saving like this: if the hour is `*`,
--               or begins with it, the clock's readings count: a repeated hour comes twice, a skipped one not.
--               Other times come once a day: at the first of two readings; a skipped one as much later (2:30 at 3:30).
--   count       ends after so many times (default: never)
--   at          what time it is when the generator is made (default: os.time(), which is asked again at each minute,
--               so that a clock that is set counts; being whole seconds, it may make a time up to one second late)
-- Times that passed while the consumer was busy come as one, at once.
local lub = require "lubdub"
local options = require "lubdub.options"

local SHORT = {
  hourly = "0 * * * *", daily = "0 0 * * *", midnight = "0 0 * * *", weekly = "0 0 * * 0",
  monthly = "0 0 1 * *", yearly = "0 0 1 1 *", annually = "0 0 1 1 *",
}
local FIELDS = {
  { name = "minute", first = 0, last = 59 }, { name = "hour", first = 0, last = 23 },
  { name = "day", first = 1, last = 31 },
  { name = "month", first = 1, last = 12, words = "jan feb mar apr may jun jul aug sep oct nov dec" },
  { name = "weekday", first = 0, last = 7, words = "sun mon tue wed thu fri sat" },
}
local DAY, YEARS = 86400, 9 * 366 * 86400 -- the 29th of February may be eight years away

local function number_of(field, text)
  local n = text:match "^%d%d?$" and tonumber(text)
  if not n and field.words and #text == 3 then
    local at = field.words:find(text:lower(), 1, true)
    n = at and at // 4 + field.first
  end
  return n and n >= field.first and n <= field.last and n
end

--- Adds the numbers of one part of a list, such as `*/15`, to the set; false if it is not valid.
local function add(field, set, part)
  local range, step = part:match "^([^/]+)/(%d+)$"
  local first, last = (range or part):match "^(%w+)%-(%w+)$"
  if (range or part) == "*" then
    first, last = field.first, field.last
  elseif first then
    first, last = number_of(field, first), number_of(field, last)
    if field.name == "weekday" and last == 0 and first ~= 0 then last = 7 end -- fri-sun
  elseif not range then
    first = number_of(field, part)
    last = first
  end
  step = math.tointeger(tonumber(step or 1))
  if not first or not last or first > last or not step or step == 0 then return false end
  for n = first, last, step do set[n] = true end
  return true
end

local function parse_field(field, text)
  local set = { any = text:sub(1, 1) == "*" }
  for part in (text .. ","):gmatch "(.-)," do
    if not add(field, set, part) then
      return nil, ("%s %d-%d instead of '%s'"):format(field.name, field.first, field.last, part)
    end
  end
  set[0] = set[0] or field.name == "weekday" and set[7]
  return set
end

--- A table of one set a field; nil and what is expected if the expression is not valid.
local function parse(expression)
  local text = expression:gsub("^%s*@(%w+)%s*$", SHORT)
  local sets, n = {}, 0
  for part in text:gmatch "%S+" do
    n = n + 1
    if n > #FIELDS or text:find "^%s*@" then break end
    local set, why = parse_field(FIELDS[n], part)
    if not set then return nil, why end
    sets[FIELDS[n].name] = set
  end
  if n ~= #FIELDS then return nil, "five fields, or @hourly and the like" end
  return sets
end

local function day_fits(sets, d)
  if not sets.month[d.month] then return false end
  local day, weekday = sets.day[d.day], sets.weekday[d.wday - 1]
  if sets.day.any or sets.weekday.any then return day and weekday end
  return day or weekday
end

--- The next full minute after t at which the clock (os.date's format) reads what the sets say; nil if there is none.
local function following(sets, t, format)
  local limit = t + YEARS
  t = t - t % 60 + 60
  while t < limit do
    local d = os.date(format, t)
    if not day_fits(sets, d) then
      t = t + math.max(1, 22 - d.hour) * 3600 - d.min * 60 -- not quite to midnight: a day may have 23 hours
    elseif not sets.hour[d.hour] then
      t = t + 3600 - d.min * 60
    elseif not sets.minute[d.min] then
      t = t + 60
    else
      return t
    end
  end
end

--- What local time is ahead of UTC at t, in seconds.
local function offset(t)
  local sign, hours, minutes = os.date("%z", t):match "^([+-])(%d%d)(%d%d)"
  return (hours * 3600 + minutes * 60) * (sign == "-" and -1 or 1)
end

--- When a local time comes that is given as if it were UTC.
local function when_local(c)
  local before, after = c - offset(c - DAY), c - offset(c + DAY)
  local ahead = before + offset(before) == c -- also of two readings the first
  return not ahead and after + offset(after) == c and after or before
end

--- The next time after t.
local function next_time(sets, t, utc)
  if utc or sets.hour.any then return following(sets, t, utc and "!*t" or "*t") end
  local c, due = t + math.min(offset(t), offset(t - DAY)), t -- from before the hour that may just have been skipped
  while due and due <= t do
    c = following(sets, c, "!*t")
    due = c and when_local(c)
  end
  return due
end

return function(opts)
  local o = options("cron", opts, {
    expression = options.required(options.text()), utc = options.flag(false), count = options.count(math.huge),
    at = options.number(),
  })
  local at, utc = o.at, o.utc
  if at and math.abs(at) > 2 ^ 36 then options.refuse("cron", "at", "seconds since 1970", at) end
  local sets, expected = parse(o.expression)
  if not sets then options.refuse("cron", "expression", expected, o.expression) end

  local start, nap = lub.now(), at and math.huge or 60
  local function clock() return at and at + (lub.now() - start) or os.time() end
  local due, n = next_time(sets, clock() // 1 | 0, utc), 0
  if not due then options.refuse("cron", "expression", "a day that comes", o.expression) end
  return function()
    if n >= o.count then return nil end
    while clock() < due do
      if not lub.sleep(math.min(due - clock(), nap)) then return nil end -- cancelled
    end
    local now = due
    due, n = next_time(sets, math.max(now, clock() // 1 | 0), utc), n + 1
    return now
  end
end
