--- json_line(line) -> table | nil: a line with one flat JSON object of strings, numbers, booleans and nulls, as in
--- recorded beats. nil if it is none. A null is an absent key.
local QUOTED = { ["\\\""] = "\\u0022", ["\\\\"] = "\\u005c" } -- so that a quote is always the end of a string
local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local WORDS = { ["true"] = true, ["false"] = false }

local function unescape(text)
  return (text:gsub("\\(.)(%x?%x?%x?%x?)", function(c, hex)
    if c == "u" and #hex == 4 then return utf8.char(tonumber(hex, 16)) end
    return (ESCAPES[c] or c) .. hex
  end))
end

--- The value at a place, and the place behind it; no place if there is no value.
local function value_at(body, from)
  local text, after = body:match("^\"([^\"]*)\"()", from)
  if text then return unescape(text), after end
  local word, beyond = body:match("^([%w.+-]+)()", from)
  local value = tonumber(word) or WORDS[word]
  if value ~= nil or word == "null" then return value, beyond end
  return nil, nil
end

return function(line)
  local body = line:gsub("\\[\"\\]", QUOTED):match "^%s*{%s*(.-)%s*}%s*$"
  if not body then return nil end
  local object, at = {}, 1
  while at <= #body do
    local key, from = body:match("^\"([^\"]*)\"%s*:%s*()", at)
    if not key then return nil end
    local value, after = value_at(body, from)
    at = after and (body:match("^%s*,%s*()%S", after) or body:match("^%s*$", after) and #body + 1)
    if not at then return nil end
    object[unescape(key)] = value
  end
  return object
end
