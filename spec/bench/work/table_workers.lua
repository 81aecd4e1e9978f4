local stream = require "stream"

return {
  name = "small table to a worker", unit = "ns", n = 200000, carriers = { 1, 2 }, floor = "copy",
  target = { { value = 1500 } },
  run = stream.workers(1024, function() return { id = 1, name = "x", v = { 1, 2, 3 } } end),
}
