-- A copy that survives being killed at random: each block is one step of progress, and the next incarnation goes on
-- behind the last one that was written. The copy is compared with the original at the end.
local lub = require "lubdub"

local BLOCK, BLOCKS = 4096, 400
local from, to = os.tmpname(), os.tmpname()
local f = assert(io.open(from, "wb"))
for _ = 1, BLOCKS do f:write((string.pack("j", math.random(0)):rep(BLOCK // 8))) end
f:close()

local s = lub.steward {
  name = "copy", restart = { backoff = "none", max = 1000, within = 1 },
  start = function(ward)
    local at = ward.last or 0
    local input <close> = assert(io.open(from, "rb"))
    local output <close> = assert(io.open(to, "r+b"))
    for _, file in ipairs { input, output } do file:seek("set", at) end
    for block in input:lines(BLOCK) do
      output:write(block)
      output:flush()
      at = at + #block
      ward:beat(at)
      lub.sleep(0.001)
    end
    return at
  end,
}

local kills, began = 0, lub.now()
while s:join(math.random() * 0.05) == nil do -- nil, "timeout"
  for _, w in ipairs(lub.workers()) do
    if w:name() == "copy" then w:kill("bad luck") kills = kills + 1 end
  end
end
local same = os.execute(("cmp %s %s"):format(from, to))
print(("killed %d times in %.1f s, copied %d bytes"):format(kills, lub.now() - began, s:join()))
print(same and "the copy is identical" or error "the copy differs")
os.remove(from)
os.remove(to)
