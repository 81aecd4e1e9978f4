local lub = require "lubdub"

return {
  name = "8 fibers to 1, capacity 1024", unit = "ns", n = 1000000, carriers = { 1 }, floor = "buffer",
  target = {},
  run = require "crowd" (lub.go, 8, 1),
}
