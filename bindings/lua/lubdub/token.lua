--- Tokens name one run: lub1:STRATEGY:SEED:RUN:PRINT, or with the first choices behind it, when those are what it is.
--- PRINT is the test's id (4 hex digits), then a digit for the choices up to the 1st, 2nd, 4th … 512th, then two for
--- all: by it a run of other code is told, and about where it went another way.
local spot = require "lubdub.spot"

local token = {}
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local KINDS = { "fiber", "switch", "timer", "case", "other", "fault" }
local MARKS = 512
local number_of = {}
for i, kind in ipairs(KINDS) do number_of[kind] = i - 1 end

-- ---- text of bytes ----

local function to_text(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local group = a << 16 | (b or 0) << 8 | (c or 0)
    for k = 1, c and 4 or b and 3 or 2 do
      local at = (group >> (24 - 6 * k) & 63) + 1
      out[#out + 1] = ALPHABET:sub(at, at)
    end
  end
  return table.concat(out)
end

local function to_bytes(text)
  local out, group, bits = {}, 0, 0
  for c in text:gmatch "." do
    local at = ALPHABET:find(c, 1, true)
    if not at then return nil end
    group, bits = (group << 6 | at - 1) & 0xffffff, bits + 6
    if bits >= 8 then
      bits = bits - 8
      out[#out + 1] = string.char(group >> bits & 255)
    end
  end
  return table.concat(out)
end

local function put(out, n)
  while n > 127 do
    out[#out + 1] = string.char(n & 127 | 128)
    n = n >> 7
  end
  out[#out + 1] = string.char(n)
end

local function get(bytes, at)
  local n, shift = 0, 0
  repeat
    local b = bytes:byte(at)
    if not b or shift > 56 then return nil end
    n, shift, at = n | (b & 127) << shift, shift + 7, at + 1
  until b < 128
  return n, at
end

-- ---- choices ----

local function packed_choice(c) return ((c.taken - 1) << 35 | c.n << 3 | number_of[c.kind]) end

--- Of a choice three numbers, the length of a row of like choices first; up to the last that is not the first of its n.
local function pack(choices)
  local last = #choices
  while last > 0 and choices[last].taken == 1 do last = last - 1 end
  local out, i = {}, 1
  while i <= last do
    local c, alike = choices[i], 1
    while i + alike <= last and packed_choice(choices[i + alike]) == packed_choice(c) do alike = alike + 1 end
    put(out, (alike - 1) << 3 | number_of[c.kind])
    put(out, c.n)
    put(out, c.taken - 1)
    i = i + alike
  end
  return to_text(table.concat(out))
end

local function unpack_choices(text)
  local bytes, choices, at = to_bytes(text), {}, 1
  while bytes and at <= #bytes do
    local head, n, taken
    head, at = get(bytes, at)
    if head then n, at = get(bytes, at) end
    if n then taken, at = get(bytes, at) end
    if not taken or not KINDS[(head & 7) + 1] or taken >= n or #choices + (head >> 3) > 1 << 20 then return nil end
    for _ = 0, head >> 3 do
      choices[#choices + 1] = { kind = KINDS[(head & 7) + 1], n = n, taken = taken + 1 }
    end
  end
  return bytes and choices
end

--- The digits: of powers of two, then of all.
local function marks(choices)
  local h, out, power = 0, {}, 1
  for i, c in ipairs(choices) do
    h = (h ~ packed_choice(c) ~ spot.hash(c.fiber)) * 0x100000001b3
    h = h ~ h >> 29
    if i == power and i <= MARKS then
      out[#out + 1] = ("%x"):format(h >> 20 & 15)
      power = power * 2
    end
  end
  return table.concat(out) .. ("%02x"):format(h >> 20 & 255)
end

-- ---- strategies, as one word ----

--- pct3.57: depth 3 over 57 choices; sticky8: 7/8, sticky0.3
function token.label(plan)
  if plan.strategy == "pct" then return ("pct%d.%d"):format(plan.depth or 2, plan.length or 0) end
  if plan.strategy == "sticky" then
    local p = plan.sticky or 7 / 8
    local n = math.tointeger(1 / (1 - p))
    return n and 1 - 1 / n == p and ("sticky%d"):format(n) or ("sticky%.17g"):format(p)
  end
  return plan.strategy
end

local function plan_of(label)
  local depth, length = label:match "^pct(%d+)%.(%d+)$"
  if depth then return { strategy = "pct", depth = tonumber(depth), length = tonumber(length) } end
  local sticky = tonumber(label:match "^sticky(.+)$")
  if math.type(sticky) == "integer" then sticky = 1 - 1 / sticky end
  if sticky then return { strategy = "sticky", sticky = sticky } end
  if label == "first" or label == "random" then return { strategy = label } end
end

-- ---- whole tokens ----

--- run: { plan=, seed=, run=, forced= the choices are what it is }; the choices that it made.
function token.write(id, run, choices)
  local parts = { "lub1", token.label(run.plan), ("%d"):format(run.seed), ("%d"):format(run.run), id .. marks(choices) }
  local forced = run.forced and pack(choices) or ""
  if forced ~= "" then parts[6] = forced end
  return table.concat(parts, ":")
end

--- { id=, plan=, seed=, run=, marks=, choices= nil or the first ones } or nil, what is wrong with it
function token.read(text)
  local label, seed, run, id, digits, rest = text:match "^lub1:([%w.-]+):(%d+):(%d+):(%x%x%x%x)(%x+)(.*)$"
  local plan = label and plan_of(label)
  local choices
  if rest and rest ~= "" then choices = rest:sub(1, 1) == ":" and unpack_choices(rest:sub(2)) end
  if not plan or choices == false or rest ~= "" and not choices or not math.tointeger(seed) then
    return nil, ("expected a token, lub1:strategy:seed:run:print, got '%s'"):format(text)
  end
  return { id = id, plan = plan, seed = math.tointeger(seed), run = math.tointeger(run), marks = digits,
           choices = choices }
end

local function one(c) return ("%s %d/%d"):format(c.kind, c.taken, c.n) end

local function by_marks(t, choices)
  local now = marks(choices)
  if now == t.marks then return nil end
  local power = 1
  for i = 1, math.min(#now, #t.marks) - 2 do
    if now:sub(i, i) ~= t.marks:sub(i, i) then break end
    power = power * 2
  end
  local first, last = power // 2 + 1, math.min(power, #choices)
  if #choices == 0 then return "replay diverged: there was a choice, now there is none" end
  if first > #choices then return ("replay diverged after choice %d, the last one now"):format(#choices) end
  if power > MARKS or power > #choices then last = #choices end
  local c = choices[first]
  local where = first == last and ("at choice %d"):format(first) or ("between choices %d and %d"):format(first, last)
  return ("replay diverged %s: choice %d is now %s, of %s"):format(where, first, one(c), c.fiber)
end

--- Where a run that was made from the token went another way than the one that is in it; nil: nowhere.
function token.diverged(t, choices)
  for i, was in ipairs(t.choices or {}) do
    local c = choices[i]
    if not c then
      return ("replay diverged at choice %d: recorded %s, now the run ends before it"):format(i, one(was))
    end
    if c.kind ~= was.kind or c.n ~= was.n then
      return ("replay diverged at choice %d: recorded %s, now %s with %d options, of %s"):format(i, one(was), c.kind,
        c.n, c.fiber)
    end
  end
  return by_marks(t, choices)
end

--- Nil, or the first choice in which two runs differ, as text.
function token.difference(a, b)
  for i = 1, math.max(#a, #b) do
    local x, y = a[i], b[i]
    if not x or not y then
      return ("choice %d: %s, then %s"):format(i, x and one(x) or "the end", y and one(y) or "the end")
    end
    if x.kind ~= y.kind or x.n ~= y.n or x.taken ~= y.taken or x.fiber ~= y.fiber or x.at ~= y.at then
      return ("choice %d: %s of %s at +%.9f s, then %s of %s at +%.9f s"):format(i, one(x), x.fiber, x.at / 1e9, one(y),
        y.fiber, y.at / 1e9)
    end
  end
end

return token
