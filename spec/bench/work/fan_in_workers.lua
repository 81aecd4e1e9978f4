local lub = require "lubdub"

return {
  name = "8 workers to 1, capacity 1024", unit = "ns", n = 1000000, carriers = { 1, 2 }, floor = "buffer",
  target = {},
  run = require "crowd" (lub.spawn, 8, 1),
}
