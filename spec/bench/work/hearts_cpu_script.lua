local hearts = require "hearts"

return {
  name = "the same, each asked in scripts/policies/fixed.lua", unit = "%", n = 100000, fixed = true, cold = true,
  carriers = { 2 },
  target = { [2] = { value = 5, go = 0.25 } },
  run = function(n) return hearts.cpu(n, hearts.policy "fixed") end,
}
