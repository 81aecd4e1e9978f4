local stream = require "stream"

return {
  name = "one way, capacity 1024, workers", unit = "ns", n = 1000000, carriers = { 1, 2 }, floor = "buffer",
  target = {},
  run = stream.workers(1024, stream.integer),
}
