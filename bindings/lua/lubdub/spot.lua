--- Which test this is. What is said of it is the same on every machine, in every order of the tests.
local spot = {}

--- FNV-1a, 64 bits.
function spot.hash(text)
  local h = -3750763034362895579 -- 0xcbf29ce484222325
  for i = 1, #text do h = (h ~ text:byte(i)) * 0x100000001b3 end
  return h
end

local function base(path) return path:match "[^/\\]*$" end

--- What busted runs: the local `element` of a function that calls us, for which there is no other way.
local function element()
  for level = 3, 200 do
    if not debug.getinfo(level, "l") then return nil end
    for i = 1, 250 do
      local name, value = debug.getlocal(level, i)
      if not name then break end
      if name == "element" and type(value) == "table" and value.descriptor == "it" then return value end
    end
  end
end

local function parent_of(e)
  local busted = package.loaded.busted
  return type(busted) == "table" and busted.parent and busted.parent(e)
end

local bodies = setmetatable({}, { __mode = "k" }) -- of a test: which of its sims has its body where

--- " 2" for the second sim of a test: a token is of one of them.
local function which(e, at)
  local known = bodies[e] or { n = 0 }
  bodies[e] = known
  if not known[at] then known.n, known[at] = known.n + 1, known.n + 1 end
  return known[at] > 1 and (" %d"):format(known[at]) or ""
end

--- The names from the outermost describe to the test, and the file. at: the place of the body.
local function in_busted(at)
  local names, file, e = {}, nil, element()
  if not e then return nil end
  local number = which(e, at)
  while e do
    if e.descriptor == "file" then file = e.name
    elseif type(e.name) == "string" and e.descriptor ~= "suite" then table.insert(names, 1, e.name) end
    e = parent_of(e)
  end
  return table.concat(names, " ") .. number, file
end

--- What runs this script.
local function program()
  local first
  for i = -1, -50, -1 do
    if type(arg) ~= "table" or arg[i] == nil then break end
    first = arg[i]
  end
  return first and tostring(first) or "lubdub run"
end

--- { name=, id= four hex digits, seed=, at= "file:line" of fn, again= how it is run again }. `name` goes before what
--- busted says.
function spot.of(fn, name)
  local info = debug.getinfo(fn, "S")
  local path = info.source:match "^@(.*)" or info.short_src
  local at = ("%s:%d"):format(info.short_src, info.linedefined)
  local found, file = in_busted(at)
  local key = base(file or path) .. " " .. (name or found or tostring(info.linedefined))
  local h = spot.hash(key)
  return {
    name = name or found or at,
    id = ("%04x"):format((h ~ h >> 32) & 0xffff),
    seed = (h ~ h >> 31) & 0x7fffffff,
    at = at,
    again = file and "busted " .. file or program() .. " " .. path,
  }
end

return spot
