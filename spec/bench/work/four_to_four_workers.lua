local lub = require "lubdub"

return {
  name = "4 workers to 4, capacity 1024", unit = "ns", n = 1000000, carriers = { 1, 2 }, floor = "buffer",
  target = {},
  run = require "crowd" (lub.spawn, 4, 4),
}
