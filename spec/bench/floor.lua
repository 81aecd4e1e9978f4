-- What plain Lua pays for the nearest thing: `lua5.4 spec/bench/floor.lua NAME N [SIZE]`. CPU time is wall time here.
local floors = {}

local function timed(n, loop)
  loop(n // 10)
  local start = os.clock()
  loop(n)
  return os.clock() - start, n
end

-- One resume and the yield that answers it.
function floors.switch(n)
  local resume, yield = coroutine.resume, coroutine.yield
  local co = coroutine.create(function() while true do yield() end end)
  return timed(n, function(count) for _ = 1, count do resume(co) end end)
end

-- One value through a ring in a table: a call that puts, a call that takes.
function floors.buffer(n)
  local slots, head, len = {}, 0, 0
  local function put(v)
    slots[(head + len) % 1024] = v
    len = len + 1
  end
  local function take()
    local v = slots[head]
    head, len = (head + 1) % 1024, len - 1
    return v
  end
  return timed(n, function(count)
    for i = 1, count do
      put(i)
      take()
    end
  end)
end

-- One call of a function of two arguments.
function floors.call(n)
  local function either(a, b) return a or b end
  return timed(n, function(count) for i = 1, count do either(i, 0) end end)
end

-- One coroutine from its creation to its end.
function floors.create(n)
  local create, resume = coroutine.create, coroutine.resume
  local function body() return true end
  return timed(n, function(count) for _ = 1, count do resume(create(body)) end end)
end

-- One small table, made and copied.
function floors.copy(n)
  local function copy(t)
    local to = {}
    for k, v in next, t do to[k] = type(v) == "table" and copy(v) or v end
    return to
  end
  return timed(n, function(count)
    for _ = 1, count do copy { id = 1, name = "x", v = { 1, 2, 3 } } end
  end)
end

-- The memory of one suspended coroutine.
function floors.bytes(n)
  local all = {}
  for i = 1, n do all[i] = false end
  local yield = coroutine.yield
  local function body() yield() end
  collectgarbage()
  local before = collectgarbage("count")
  for i = 1, n do
    all[i] = coroutine.create(body)
    coroutine.resume(all[i])
  end
  collectgarbage()
  return (collectgarbage("count") - before) * 1024, n
end

-- An object of a heart's size with a finalizer, made and dropped among those of `size` parked coroutines: a collector
-- lets as much lie as lives.
function floors.objects(n, size)
  local all, mt = {}, { __gc = function() end }
  local function object(i) return setmetatable({ { interval = 60 }, ("x"):rep(480) .. i }, mt) end
  for i = 1, size do
    all[i] = coroutine.wrap(function()
      local held = object(i)
      coroutine.yield()
      return held
    end)
    all[i]()
  end
  collectgarbage()
  local start = os.clock()
  for i = 1, n do object(i) end
  return os.clock() - start, n
end

local n, more = tonumber(arg[2]), tonumber(arg[3] or "")
print(("result %.9g %.9g"):format(floors[arg[1]](math.tointeger(n), more and math.tointeger(more))))
