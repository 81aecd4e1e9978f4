local lub = require "lubdub"

return {
  name = "4 fibers to 4, capacity 1024", unit = "ns", n = 1000000, carriers = { 1 }, floor = "buffer",
  target = {},
  run = require "crowd" (lub.go, 4, 4),
}
