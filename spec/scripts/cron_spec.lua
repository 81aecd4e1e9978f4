-- The times of cron expressions, in virtual time. What depends on the time zone runs in a process with its own TZ.
local helper = require "spec.bindings.helper"
local lub = require "lubdub"
require "lubdub.sim"
local virtual = require "spec.scripts.virtual"

local path = "scripts/generators/cron.lua"

--- A UTC time as cron gives it; text: "2026-11-25 08:04[:05]".
local function utc(text)
  local y, m, d, h, min, s = text:match "(%d+)-(%d+)-(%d+) (%d+):(%d+):?(%d*)"
  local days = 365 * (y - 1970) + (y - 1969) // 4 - (y - 1901) // 100 + (y - 1601) // 400
  for month = 1, m - 1 do days = days + ({ 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 })[month] end
  if m + 0 > 2 and y % 4 == 0 and (y % 100 ~= 0 or y % 400 == 0) then days = days + 1 end
  return ((days + d - 1) * 24 + h) * 3600 + min * 60 + (tonumber(s) or 0) // 1 | 0
end

local function shown(t) return os.date("!%Y-%m-%d %H:%M", t) end

--- The expression's first n times after `at`, in UTC.
local function times(expression, at, n)
  local list = {}
  for t in virtual(path) { expression = expression, utc = true, at = utc(at), count = n or 3 } do
    assert.equals("integer", math.type(t))
    list[#list + 1] = shown(t)
  end
  return list
end

local function comes(expression, at, expected) assert.same(expected, times(expression, at, #expected)) end

local function refuses(expression, expected)
  local text = ("cron: option 'expression': expected %s, got %q"):format(expected, expression)
  local ok, why = pcall(function() dofile(path) { expression = expression } end)
  assert.is_false(ok, expression .. " was accepted")
  assert.truthy(why:find(text, 1, true), "expected: " .. text .. "\ngot: " .. why)
  assert.matches("cron_spec%.lua:%d+: ", why)
end

describe("cron", function()
  it("comes at each minute of *, strictly after the beginning", function()
    comes("* * * * *", "2026-11-25 08:04:22", { "2026-11-25 08:05", "2026-11-25 08:06", "2026-11-25 08:07" })
    comes("* * * * *", "2026-11-25 08:04:00", { "2026-11-25 08:05" })
    comes("* * * * *", "2026-12-31 23:59:59", { "2027-01-01 00:00", "2027-01-01 00:01" })
  end)

  it("reads numbers", function()
    comes("30 4 * * *", "2026-11-25 08:04", { "2026-11-26 04:30", "2026-11-27 04:30" })
    comes("04 08 * * *", "2026-11-25 08:03", { "2026-11-25 08:04", "2026-11-26 08:04" })
    comes("5 4 3 2 *", "2026-11-25 08:04", { "2027-02-03 04:05", "2028-02-03 04:05" })
  end)

  it("reads lists, ranges and steps", function()
    comes("0,30 * * * *", "2026-11-25 08:04", { "2026-11-25 08:30", "2026-11-25 09:00", "2026-11-25 09:30" })
    comes("58-59 * * * *", "2026-11-25 08:04", { "2026-11-25 08:58", "2026-11-25 08:59", "2026-11-25 09:58" })
    comes("*/20 * * * *", "2026-11-25 08:04", { "2026-11-25 08:20", "2026-11-25 08:40", "2026-11-25 09:00" })
    comes("*/40 * * * *", "2026-11-25 08:04", { "2026-11-25 08:40", "2026-11-25 09:00", "2026-11-25 09:40" })
    comes("0 8-18/5 * * *", "2026-11-25 08:04", { "2026-11-25 13:00", "2026-11-25 18:00", "2026-11-26 08:00" })
    comes("1-9/4,30,50-51 0 * * *", "2026-11-25 08:04", { "2026-11-26 00:01", "2026-11-26 00:05",
      "2026-11-26 00:09", "2026-11-26 00:30", "2026-11-26 00:50", "2026-11-26 00:51", "2026-11-27 00:01" })
    comes("0 0 */10 * *", "2026-11-25 08:04", { "2026-12-01 00:00", "2026-12-11 00:00", "2026-12-21 00:00",
      "2026-12-31 00:00", "2027-01-01 00:00" })
    comes("7 */99 * * *", "2026-11-25 08:04", { "2026-11-26 00:07" })
  end)

  it("reads names of months and weekdays, in any case", function()
    comes("0 0 1 jan *", "2026-11-25 08:04", { "2027-01-01 00:00", "2028-01-01 00:00" })
    comes("0 0 1 Feb-apr,DEC *", "2026-11-25 08:04", { "2026-12-01 00:00", "2027-02-01 00:00", "2027-03-01 00:00",
      "2027-04-01 00:00", "2027-12-01 00:00" })
    comes("0 9 * * MON-fri", "2026-11-25 10:00", { "2026-11-26 09:00", "2026-11-27 09:00", "2026-11-30 09:00" })
    comes("0 9 * * sat", "2026-11-25 10:00", { "2026-11-28 09:00", "2026-12-05 09:00" })
  end)

  it("takes 0 and 7 for Sunday, also at the end of a range", function()
    local sundays = { "2026-11-29 00:00", "2026-12-06 00:00" }
    for _, sunday in ipairs { "0", "7", "sun", "0,7", "0-0", "7-7" } do
      comes("0 0 * * " .. sunday, "2026-11-25 08:04", sundays)
    end
    local weekends = { "2026-11-27 00:00", "2026-11-28 00:00", "2026-11-29 00:00", "2026-12-04 00:00" }
    for _, range in ipairs { "fri-sun", "5-7", "5-0", "fri-7" } do
      comes("0 0 * * " .. range, "2026-11-25 08:04", weekends)
    end
    comes("0 0 * * sun-tue", "2026-11-25 08:04", { "2026-11-29 00:00", "2026-11-30 00:00", "2026-12-01 00:00",
      "2026-12-06 00:00" })
  end)

  it("knows how long months are", function()
    comes("0 0 31 * *", "2026-01-31 00:00", { "2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00",
      "2026-08-31 00:00", "2026-10-31 00:00", "2026-12-31 00:00" })
    comes("0 0 30 * *", "2026-01-30 00:00", { "2026-03-30 00:00", "2026-04-30 00:00" })
    comes("59 23 28-31 2 *", "2027-02-01 00:00", { "2027-02-28 23:59", "2028-02-28 23:59", "2028-02-29 23:59" })
  end)

  it("knows leap years", function()
    comes("0 0 29 2 *", "2026-11-25 08:04", { "2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00" })
    comes("0 0 29 2 *", "2096-02-29 00:00", { "2104-02-29 00:00" }) -- 2100 is none
    comes("0 0 29 2 *", "1999-01-01 00:00", { "2000-02-29 00:00" })
  end)

  it("takes a day or a weekday when both are restricted, as Vixie's cron does", function()
    comes("0 0 13 * fri", "2026-11-01 00:00", { "2026-11-06 00:00", "2026-11-13 00:00", "2026-11-20 00:00",
      "2026-11-27 00:00", "2026-12-04 00:00", "2026-12-11 00:00", "2026-12-13 00:00" })
    comes("0 0 1-7 2 0-6", "2026-11-01 00:00", { "2027-02-01 00:00", "2027-02-02 00:00", "2027-02-03 00:00" })
    comes("0 0 31 2 mon", "2026-11-01 00:00", { "2027-02-01 00:00", "2027-02-08 00:00" })
  end)

  it("wants both when one of them begins with *, as Vixie's cron does", function()
    comes("0 0 */2 * fri", "2026-11-01 00:00", { "2026-11-13 00:00", "2026-11-27 00:00", "2026-12-11 00:00" })
    comes("0 0 13 * */5", "2026-11-01 00:00", { "2026-11-13 00:00", "2026-12-13 00:00", "2027-06-13 00:00" })
    comes("0 0 13 * *", "2026-11-01 00:00", { "2026-11-13 00:00", "2026-12-13 00:00", "2027-01-13 00:00" })
  end)

  it("reads the short names", function()
    local at = "2026-11-25 08:04"
    comes("@hourly", at, { "2026-11-25 09:00", "2026-11-25 10:00" })
    for _, name in ipairs { "@daily", "@midnight", " @daily " } do
      comes(name, at, { "2026-11-26 00:00", "2026-11-27 00:00" })
    end
    comes("@weekly", at, { "2026-11-29 00:00", "2026-12-06 00:00" })
    comes("@monthly", at, { "2026-12-01 00:00", "2027-01-01 00:00" })
    for _, name in ipairs { "@yearly", "@annually" } do comes(name, at, { "2027-01-01 00:00", "2028-01-01 00:00" }) end
  end)

  it("does not mind how fields are set apart", function()
    comes("  0\t0   1 1\n* ", "2026-11-25 08:04", { "2027-01-01 00:00" })
  end)

  it("agrees with a search minute by minute", function()
    math.randomseed(4)
    local function some(first, last)
      local a, b = math.random(first, last), math.random(first, last)
      return ({ "*", "*/" .. math.random(1, 7), tostring(a), ("%d-%d"):format(math.min(a, b), math.max(a, b)),
        ("%d,%d"):format(a, b) })[math.random(5)]
    end
    --- Whether a number is in a field, read the plain way.
    local function within(n, field)
      for part in field:gmatch "[^,]+" do
        local step, a, b = part:match "^%*/(%d+)$", part:match "^(%d+)%-?(%d*)$"
        b = tonumber(b) or tonumber(a)
        if part == "*" or step and n.v % step == n.first % step then return true end
        if a and n.v >= tonumber(a) and n.v <= b then return true end
      end
      return false
    end
    for _ = 1, 15 do
      local f = { some(0, 59), some(0, 23), some(1, 28), "*", some(0, 6) }
      local t, found = utc "2026-02-20 00:00", {}
      while #found < 3 do
        t = t + 60
        local d = os.date("!*t", t)
        local day, weekday = within({ v = d.day, first = 1 }, f[3]), within({ v = d.wday - 1, first = 0 }, f[5])
        local star = f[3]:find "^%*" or f[5]:find "^%*"
        if within({ v = d.min, first = 0 }, f[1]) and within({ v = d.hour, first = 0 }, f[2])
          and (star and day and weekday or not star and (day or weekday)) then
          found[#found + 1] = shown(t)
        end
        if t > utc "2026-03-15 00:00" then break end
      end
      if found[1] then comes(table.concat(f, " "), "2026-02-20 00:00", found) end
    end
  end)

  it("names the field and the part that are wrong", function()
    refuses("60 * * * *", "minute 0-59 instead of '60'")
    refuses("* 24 * * *", "hour 0-23 instead of '24'")
    refuses("* * 0 * *", "day 1-31 instead of '0'")
    refuses("* * 32 * *", "day 1-31 instead of '32'")
    refuses("* * * 13 *", "month 1-12 instead of '13'")
    refuses("* * * 0 *", "month 1-12 instead of '0'")
    refuses("* * * * 8", "weekday 0-7 instead of '8'")
    refuses("* * * * mon,tuesday", "weekday 0-7 instead of 'tuesday'")
    refuses("mon * * * *", "minute 0-59 instead of 'mon'")
    refuses("* * * mon *", "month 1-12 instead of 'mon'")
    refuses("1,,2 * * * *", "minute 0-59 instead of ''")
    for _, part in ipairs { "5-1", "-1", "1-", "1-2-3", "*/0", "*/", "*/-1", "*/x", "5/15", "/5", "1.5", "**", "*5",
      "1-70", "a-b", "0x1", "1e1", "100", "*/99999999999999999999", "?", "-" } do
      refuses("0," .. part .. " * * * *", ("minute 0-59 instead of '%s'"):format(part))
    end
  end)

  it("wants five fields or a name it knows", function()
    for _, text in ipairs { "", " ", "*", "* * * *", "* * * * * *", "@reboot", "@", "@hourly x", "@Hourly" } do
      refuses(text, "five fields, or @hourly and the like")
    end
  end)

  it("refuses a day that never comes", function()
    for _, text in ipairs { "0 0 30 2 *", "0 0 31 2 *", "0 0 31 4,6,9,11 *" } do refuses(text, "a day that comes") end
  end)

  it("refuses an `at` that is no time, and a `utc` that is no boolean", function()
    for _, bad in ipairs { 1e300, helper.nan, math.huge, "x" } do
      assert.is_false((pcall(dofile(path), { expression = "@hourly", at = bad })))
    end
    helper.raises("cron: option 'utc': expected true or false, got 1", dofile(path),
      { expression = "@hourly", utc = 1 })
  end)
end)

describe("cron's waiting", function()
  it("is until the time, exactly, from `at` on", function()
    local cron, clock = virtual(path)
    local next_time = cron { expression = "*/5 * * * *", utc = true, at = utc "2026-11-25 08:04:22" + 0.5 }
    assert.equals("2026-11-25 08:05", shown(next_time()))
    assert.is_true(math.abs(clock.now - 1037.5) < 1e-4)
    next_time()
    assert.is_true(math.abs(clock.now - 1337.5) < 1e-4)
  end)

  it("gives times that passed while the consumer was busy as one, at once", function()
    local cron, clock = virtual(path)
    local next_time = cron { expression = "* * * * *", utc = true, at = utc "2026-11-25 08:00" }
    assert.equals("2026-11-25 08:01", shown(next_time()))
    clock.now = 1000 + 330 -- 08:05:30
    assert.equals("2026-11-25 08:02", shown(next_time()))
    assert.equals(1330, clock.now)
    assert.equals("2026-11-25 08:06", shown(next_time()))
    assert.equals(1360, clock.now)
  end)

  it("follows the clock of a sim", lub.sim(function()
    local next_time = dofile(path) { expression = "30 4 * * *", utc = true, count = 2 }
    for day = 1, 2 do
      assert.equals(("2000-01-%02d 04:30"):format(day), shown(next_time()))
      assert.equals((day - 1) * 86400 + 4.5 * 3600, lub.now())
    end
    assert.is_nil(next_time())
  end))

  it("happens in real time too", function()
    local start = lub.now()
    local next_time = dofile(path) { expression = "* * * * *", utc = true, at = 59.99, count = 1 }
    assert.equals(60, next_time())
    assert.is_true(lub.now() - start > 0.01 - 1e-6)
    assert.is_nil(next_time())
  end)

  --- Runs fn while os.time() is what `time()` says.
  local function with_time(time, fn)
    local real = os.time
    os.time = time -- luacheck: ignore 122
    local ok, why = pcall(fn)
    os.time = real -- luacheck: ignore 122
    assert(ok, why)
  end

  it("begins now if nothing else is said, and is never early", function()
    local cron, clock = virtual(path)
    local function time() return utc "2026-11-25 08:04:22" + math.floor(clock.now - 1000) end
    with_time(time, function()
      local next_time = cron { expression = "0 */4 * * *", utc = true }
      for _, expected in ipairs { "2026-11-25 12:00", "2026-11-25 16:00" } do
        assert.equals(expected, shown(next_time()))
        assert.equals(expected, shown(time()))
      end
    end)
  end)

  it("notices that the clock was set: forward it comes at once, back it waits", function()
    local cron, clock = virtual(path)
    local ahead = 0
    local function time() return utc "2026-11-25 08:04" + math.floor(clock.now - 1000) + ahead end
    with_time(time, function()
      local next_time = cron { expression = "0 * * * *", utc = true }
      ahead = 7200
      assert.equals("2026-11-25 09:00", shown(next_time()))
      assert.equals(1000, clock.now)
      ahead = 3600
      assert.equals("2026-11-25 11:00", shown(next_time()))
      assert.equals("2026-11-25 11:00", shown(time()))
    end)
  end)

  it("notices within a minute that the clock was set while it waits", function()
    local cron, clock = virtual(path)
    local function time()
      return utc "2026-11-25 08:04" + math.floor(clock.now - 1000) + (clock.now > 1200 and 86400 or 0)
    end
    with_time(time, function()
      assert.equals("2026-11-26 00:00", shown(cron { expression = "@daily", utc = true } ()))
      assert.is_true(clock.now > 1200 and clock.now <= 1260)
    end)
  end)

  it("ends when its fiber is cancelled", function()
    local cron, clock = virtual(path)
    local next_time = cron { expression = "@hourly", at = 0 }
    clock.cancelled = true
    assert.is_nil(next_time())
  end)
end)

--- The first n times after `at` (UTC) in a time zone, each as local time with its offset.
local function local_times(zone, expression, at, n)
  local text = ([[
    local cron = require "spec.scripts.virtual" "%s"
    for t in cron { expression = "%s", at = %d, count = %d } do print(os.date("%%m-%%d %%H:%%M%%z", t)) end
  ]]):format(path, expression, utc(at), n)
  local file = helper.file(text)
  local code, out, err = helper.shell(("TZ='%s' %s %s"):format(zone, helper.lua, file))
  os.remove(file)
  assert.equals("", err)
  assert.equals(0, code)
  local list = {}
  for line in out:gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

describe("cron in local time", function()
  local berlin = "CET-1CEST,M3.5.0,M10.5.0/3" -- 2026: 29 March 2:00 becomes 3:00, 25 October 3:00 becomes 2:00
  local function comes_in(zone, expression, at, expected)
    assert.same(expected, local_times(zone, expression, at, #expected))
  end

  it("reads the local clock", function()
    comes_in(berlin, "30 9 * * *", "2026-01-10 08:00", { "01-10 09:30+0100", "01-11 09:30+0100" })
    comes_in(berlin, "30 9 * * *", "2026-07-10 08:00", { "07-11 09:30+0200" })
    comes_in("NPT-5:45", "0 0 * * mon", "2026-11-25 08:00", { "11-30 00:00+0545", "12-07 00:00+0545" })
    comes_in("HST10", "0 22 31 12 *", "2026-11-25 08:00", { "12-31 22:00-1000" })
  end)

  it("keeps the hour of the day through both changes", function()
    comes_in(berlin, "0 9 * * *", "2026-03-28 00:00", { "03-28 09:00+0100", "03-29 09:00+0200", "03-30 09:00+0200" })
    comes_in(berlin, "0 0 * * *", "2026-10-24 12:00", { "10-25 00:00+0200", "10-26 00:00+0100", "10-27 00:00+0100" })
  end)

  it("comes as much later when the time is skipped", function()
    comes_in(berlin, "30 2 * * *", "2026-03-28 00:00", { "03-28 02:30+0100", "03-29 03:30+0200", "03-30 02:30+0200" })
    comes_in(berlin, "0,30 2 * * *", "2026-03-28 02:00", { "03-29 03:00+0200", "03-29 03:30+0200", "03-30 02:00+0200" })
    comes_in(berlin, "15 2,3 * * *", "2026-03-28 12:00", { "03-29 03:15+0200", "03-30 02:15+0200" })
  end)

  it("comes once, first, when the time is repeated", function()
    comes_in(berlin, "30 2 * * *", "2026-10-24 12:00", { "10-25 02:30+0200", "10-26 02:30+0100" })
    comes_in(berlin, "30 2 * * *", "2026-10-25 01:10", { "10-26 02:30+0100" }) -- begun in the second hour
    comes_in(berlin, "0 2,3 * * *", "2026-10-24 12:00", { "10-25 02:00+0200", "10-25 03:00+0100" })
  end)

  it("follows the clock through a repeated and a skipped hour when the hour is *", function()
    comes_in(berlin, "30 * * * *", "2026-03-29 00:00", { "03-29 01:30+0100", "03-29 03:30+0200", "03-29 04:30+0200" })
    comes_in(berlin, "30 * * * *", "2026-10-25 00:00", { "10-25 02:30+0200", "10-25 02:30+0100", "10-25 03:30+0100" })
    comes_in(berlin, "*/30 * * * *", "2026-10-25 00:00", { "10-25 02:30+0200", "10-25 02:00+0100",
      "10-25 02:30+0100", "10-25 03:00+0100" })
  end)

  it("knows the changes of the southern half", function()
    local sydney = "AEST-10AEDT,M10.1.0,M4.1.0/3" -- 2026: 4 October forward, 5 April back
    comes_in(sydney, "30 2 * * *", "2026-10-03 00:00", { "10-04 03:30+1100", "10-05 02:30+1100" })
    comes_in(sydney, "30 2 * * *", "2026-04-04 00:00", { "04-05 02:30+1100", "04-06 02:30+1000" })
  end)
end)
