--- A small random source of one's own (SplitMix64): the same seed gives the same numbers everywhere, and neither
--- takes from `math.random` nor disturbs it. Without a seed, one number of `math.random` is the seed.
---@param seed integer?
---@return fun(): number  uniform, 0 <= n < 1
return function(seed)
  local state = seed and math.tointeger(seed) or math.random(0)
  return function()
    state = state + 0x9e3779b97f4a7c15
    local z = (state ~ state >> 30) * 0xbf58476d1ce4e5b9
    z = (z ~ z >> 27) * 0x94d049bb133111eb
    return ((z ~ z >> 31) >> 11) * 2.0 ^ -53
  end
end
