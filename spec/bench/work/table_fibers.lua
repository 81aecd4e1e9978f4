local stream = require "stream"

return {
  name = "small table, capacity 1024, fibers", unit = "ns", n = 200000, carriers = { 1 }, floor = "copy",
  target = {}, mailbox = true,
  run = stream.fibers(1024, stream.row),
}
