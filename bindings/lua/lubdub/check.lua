--- Options of a table, each checked, errors that say `function: option: expected …, got …`.
local check = {}

local function shown(v)
  if type(v) == "number" then return tostring(v) end
  if type(v) == "string" then return ("'%s'"):format(v) end
  return type(v)
end

--- Raises (without a position: `check.call` adds the caller's).
function check.refuse(name, expected, v)
  error({ option = ("%s: expected %s, got %s"):format(name, expected, shown(v)) }, 0)
end

--- A finite number above 0, or `default` for nil.
function check.positive(v, name, default)
  if v == nil then return default end
  if type(v) ~= "number" or not (v > 0 and v < math.huge) then
    check.refuse(name, "a finite number above 0", v)
  end
  return v
end

--- A finite number, not negative, or `default` for nil.
function check.from_zero(v, name, default)
  if v == nil then return default end
  if type(v) ~= "number" or not (v >= 0 and v < math.huge) then check.refuse(name, "a finite number from 0", v) end
  return v
end

--- A whole number above 0, or `default` for nil.
function check.count(v, name, default)
  if v == nil then return default end
  local n = type(v) == "number" and math.tointeger(v)
  if not n or n < 1 then check.refuse(name, "a whole number above 0", v) end
  return n
end

--- A whole number from `least` to `most`, or `default` for nil.
function check.whole(v, name, default, least, most)
  if v == nil then return default end
  local n = type(v) == "number" and math.tointeger(v)
  if not n or n < least or n > most then
    check.refuse(name, ("a whole number from %d to %d"):format(least, most), v)
  end
  return n
end

--- Seconds that a heart takes, or `default` for nil.
function check.span(v, name, default)
  if v == nil then return default end
  if type(v) ~= "number" or not (v > 0 and v <= 3e8) then check.refuse(name, "seconds above 0, at most 3e8", v) end
  return v
end

--- A value of one of the types, or `default` for nil.
function check.type(v, name, types, default)
  if v == nil then return default end
  for t in types:gmatch "%a+" do
    if t ~= "or" and type(v) == t then return v end
  end
  check.refuse(name, "a " .. types, v)
end

--- One of the words in the list, or `default` for nil.
function check.word(v, name, words, default)
  if v == nil then return default end
  for _, word in ipairs(words) do
    if v == word then return v end
  end
  check.refuse(name, "one of " .. table.concat(words, ", "), v)
end

--- Every key of `options` is one of the words.
function check.names(options, name, words)
  local known = {}
  for word in words:gmatch "%S+" do known[word] = true end
  for k in pairs(options) do
    if not known[k] then
      error({ option = ("%sunknown option '%s'"):format(name == "" and "" or name .. ": ", tostring(k)) }, 0)
    end
  end
end

--- The function that the script at `path` returns. The script runs now.
function check.script(path, name)
  local chunk, why = loadfile(path, "t")
  if not chunk then error({ option = ("%s: %s"):format(name, why) }, 0) end
  local ok, fn = pcall(chunk)
  if not ok then error({ option = ("%s: script '%s' fails: %s"):format(name, path, tostring(fn)) }, 0) end
  if type(fn) ~= "function" then
    error({ option = ("%s: script '%s': expected a function to be returned, got %s"):format(name, path, shown(fn)) }, 0)
  end
  return fn
end

--- As `error`, but where that would point into C (lub.steward is a C function that calls ours), at who called it.
function check.raise(why, level)
  level = level + 1
  local caller = debug.getinfo(level, "S") -- none: C has called ours first of all
  if caller and caller.what == "C" then level = level + 1 end
  error(why, level)
end

--- Raises as the functions in C do, at who called the function that calls this.
function check.argument(who, n, expected, v)
  local got = type(v) == "number" and "number " .. tostring(v) or type(v)
  error(("%s: argument %d: expected %s, got %s"):format(who, n, expected, got), 3)
end

--- The error of what cannot cross, with a name for a place (a pattern) in it: "cannot send a coroutine (at NAME .co)".
function check.placed(why, place, name)
  return (why:gsub("^(cannot [^\n]-%(at )" .. place, "%1" .. name .. " "):gsub("^(cannot [^\n]-) %)", "%1)"))
end

--- ch:send(v), but the error of what cannot cross has names (pattern -> name) for places in v. level: as of error, 0 or
--- nil for no position.
function check.send(ch, v, names, level)
  local ok, sent, why = pcall(ch.send, ch, v)
  if ok then return sent, why end
  for place, name in pairs(names) do sent = check.placed(sent, "argument 1 ?" .. place, name) end
  error(sent, level or 0)
end

--- Calls fn(...); what was refused in it is raised as `where: …` at the position of the caller `level` levels up.
function check.call(where, level, fn, ...)
  local results = table.pack(pcall(fn, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local why = results[2]
  if type(why) == "table" and why.option then check.raise(where .. ": " .. why.option, level + 1) end
  error(why, 0)
end

return check
